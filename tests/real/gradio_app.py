"""A typical Gradio app. It needs an interpreter with gradio: `python gradio_app.py PORT`."""

import sys
import time
from collections.abc import Iterator

import gradio as gr

WORDS = ["Once", " upon", " a", " time"]
BETWEEN = 0.05
"""Seconds before each word."""


def chat(message: str, history: list[object]) -> Iterator[str]:
    text = ""
    for word in WORDS:
        time.sleep(BETWEEN)
        text += word
        yield text


def fail(text: str) -> str:
    raise gr.Error("out of memory on purpose")


def main(port: int) -> None:
    with gr.Blocks(analytics_enabled=False) as app:
        gr.ChatInterface(chat, api_name="chat", concurrency_limit=1)
        question, answer = gr.Textbox(), gr.Textbox()
        gr.Button().click(lambda text: f"Echo: {text}", question, answer, api_name="predict")
        gr.Button().click(fail, question, answer, api_name="fail")
    app.queue().launch(server_name="127.0.0.1", server_port=port, quiet=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
