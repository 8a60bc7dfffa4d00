"""A Gradio 3 app, with a queue if the second argument is `queue`: `python gradio3_app.py PORT [queue]`."""

import sys

import gradio as gr


def echo(text: str) -> str:
    return f"Echo: {text}"


def fail(text: str) -> str:
    raise gr.Error("out of memory on purpose")


def main(port: int, *, queue: bool) -> None:
    with gr.Blocks(analytics_enabled=False) as app:
        question, answer = gr.Textbox(), gr.Textbox()
        gr.Button().click(echo, question, answer, api_name="predict")
        gr.Button().click(fail, question, answer, api_name="fail")
    if queue:
        app.queue(api_open=False)
    app.launch(server_name="127.0.0.1", server_port=port, quiet=True, show_api=False)


if __name__ == "__main__":
    main(int(sys.argv[1]), queue="queue" in sys.argv[2:])
