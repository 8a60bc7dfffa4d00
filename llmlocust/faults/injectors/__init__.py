"""The injectors of a fault plan, one for each type of action."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmlocust.faults import actions
from llmlocust.faults.actions import Action
from llmlocust.faults.injectors.commands import Command, Docker, Http
from llmlocust.faults.injectors.injector import Context, Injector
from llmlocust.faults.injectors.network import Port, Traffic
from llmlocust.faults.injectors.own_proxy import OwnProxy
from llmlocust.faults.injectors.pressure import Pressure
from llmlocust.faults.injectors.signals import signal_injector
from llmlocust.faults.injectors.toxiproxy import Toxiproxy


def _proxy(action: actions.ProxyAction, injection_id: str, context: Context) -> Injector:
    return (Toxiproxy if action.toxiproxy else OwnProxy)(action, injection_id, context)


_INJECTORS: dict[type[Action], Callable[[Any, str, Context], Injector]] = {
    actions.ProxyAction: _proxy,
    actions.SignalAction: signal_injector,
    actions.TrafficAction: Traffic,
    actions.PortAction: Port,
    actions.PressureAction: Pressure,
    actions.DockerAction: Docker,
    actions.CommandAction: Command,
    actions.HttpAction: Http,
}


def injector_of(action: Action, injection_id: str, context: Context) -> Injector:
    """Return what injects an action once."""
    return _INJECTORS[type(action)](action, injection_id, context)
