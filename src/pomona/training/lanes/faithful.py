"""Whether a trace makes the calls that the network itself makes: ``forward`` may tell tensors from traces."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

from pomona.training.lanes.capture import lent, shown
from pomona.training.lanes.value import Maps, first_line

UNFAITHFUL = "forward does something else when it is traced than when it runs"


def runs(module: nn.Module, input_shape: Maps, training: bool) -> bool:
    """Whether torch can run the network at all: on two images of zeros, with weights of zeros.

    Args:
        module: Not changed. It is called once, on the CPU.
        input_shape: Channels, height and width.
        training: The mode.
    """
    tensors = [*module.named_parameters(), *module.named_buffers()]
    zeros = {name: torch.zeros_like(tensor, device="cpu") for name, tensor in tensors}
    with lent(module, training), torch.no_grad():
        try:
            functional_call(module, zeros, (torch.zeros(2, *input_shape),))
        except Exception:
            return False
    return True


def unfaithful(module: nn.Module, graph: fx.Graph, input_shape: Maps, training: bool) -> list[str]:
    """Compare what torch computes, call by call, without values.

    Args:
        module: Not changed. It is called once, on the meta device.
        graph: As ``capture`` gives it.
        input_shape: Channels, height and width.
        training: The mode.

    Returns:
        Why the trace is not to be trusted; empty where it is.
    """
    metas = {name: torch.empty_like(p, device="meta") for name, p in module.named_parameters()}
    names = {id(tensor): name for name, tensor in metas.items()}
    image = torch.empty(2, *input_shape, device="meta")
    with lent(module, training) as changed, torch.no_grad():
        traced = fx.GraphModule(nn.Sequential(module), graph)
        try:
            with _Calls(names) as own:
                functional_call(module, metas, (image,))
        except Exception as error:
            return [f"{shown(module)}: forward does not run without values: {first_line(error)}"]
        with _Calls(names) as found:
            functional_call(traced, {f"0.{name}": tensor for name, tensor in metas.items()}, (image,))
    if own.calls != found.calls:
        return [f"{shown(module)}: {UNFAITHFUL}"]
    return changed


class _Calls(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes each call of torch: its name, shapes, numbers, and which parameters it takes."""

    def __init__(self, names: dict[int, str]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names, self.calls = names, list[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls.append(repr((str(func), tree_map(self._described, (args, kwargs)))))
        return func(*args, **(kwargs or {}))

    def _described(self, part: Any) -> Any:
        if not isinstance(part, Tensor):
            return part
        return self.names.get(id(part)), tuple(part.shape), str(part.dtype)
