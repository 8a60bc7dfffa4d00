"""A Gradio 3 app, with its queue where the second argument says so: `python gradio3_app.py PORT [queue]`."""

import sys

import gradio as gr


def echo(text: str) -> str:
    return f"Echo: {text}"


def fail(text: str) -> str:
    raise gr.Error("out of memory on purpose")


def main(port: int, *, queue: bool) -> None:
    with gr.Blocks(analytics_enabled=False) as app:
        given, answer = gr.Textbox(), gr.Textbox()
        gr.Button().click(echo, given, answer, api_name="predict")
        gr.Button().click(fail, given, answer, api_name="fail")
    if queue:
        app.queue(api_open=False)
    app.launch(server_name="127.0.0.1", server_port=port, quiet=True, show_api=False)


if __name__ == "__main__":
    main(int(sys.argv[1]), queue="queue" in sys.argv[2:])
