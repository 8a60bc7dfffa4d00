"""llmlocust: how many users can an LLM endpoint take, where does it break, why, and can the answer be believed?"""
