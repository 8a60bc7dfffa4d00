"""`python -m llmlocust.simulator --slots 8 …`: every setting is an option."""

import argparse

from llmlocust.simulator.server import serve
from llmlocust.simulator.settings import Settings, knobs


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m llmlocust.simulator", description=Settings.__doc__)
    for knob in knobs():
        if knob.kind is bool:
            parser.add_argument(knob.option, action="store_true", help=knob.help)
        else:
            parser.add_argument(knob.option, type=knob.kind, default=knob.default, help=f"{knob.help} [%(default)s]")
    try:
        settings = Settings(**vars(parser.parse_args()))
    except ValueError as error:
        parser.error(str(error))
    serve(settings)


if __name__ == "__main__":
    main()
