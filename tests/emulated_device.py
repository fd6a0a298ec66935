"""A device that is no GPU and has a GPU's manners: real numbers, computed on the CPU, that refuse what a GPU refuses.

Its tensors are wrappers of CPU tensors on torch's PrivateUse1 device, renamed `emulated`. They refuse operands on two
devices (a CPU scalar may stand in pointwise operations), indices on the device into a CPU tensor, generators of
another device, normalisation in two dtypes, `.numpy()`, and within `without_float64()` float64, as MPS does.
`counted()` notes every copy from the host to the device and every wait of the host for the device.
"""

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch.utils import backend_registration

NAME = "emulated"
_FLOAT64 = (torch.float64, torch.complex128)
_INDEXING = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_", "aten::_unsafe_index")
_NORMS = ("aten::native_group_norm", "aten::native_layer_norm", "aten::native_batch_norm")
_WAITS = (
    "aten::_local_scalar_dense", "aten::nonzero", "aten::masked_select", "aten::equal", "aten::_unique2",
    "aten::unique_dim", "aten::unique_consecutive", "aten::bincount", "aten::_linalg_check_errors",
    "aten::repeat_interleave", "aten::multinomial", "aten::_assert_async",
)  # fmt: skip
_RealGenerator = torch._C.Generator
_GENERATORS: set[int] = set()


@dataclass
class Counts:
    """Copies from the host to the device and waits of the host for the device, each by the line that asked for it."""

    copies: list[str] = field(default_factory=list)
    waits: list[str] = field(default_factory=list)


@dataclass
class _State:
    counts: list[Counts] = field(default_factory=list)
    float64: bool = True


_STATE = _State()


@contextlib.contextmanager
def counted() -> Iterator[Counts]:
    """Counts what happens inside."""
    counts = Counts()
    _STATE.counts.append(counts)
    try:
        yield counts
    finally:
        _STATE.counts.remove(counts)


@contextlib.contextmanager
def without_float64() -> Iterator[None]:
    """The device has no float64 inside, as MPS has none."""
    _STATE.float64 = False
    try:
        yield
    finally:
        _STATE.float64 = True


class EmulatedTensor(torch.Tensor):
    """A tensor of the device; `inner` is the CPU tensor that holds its numbers."""

    __slots__ = ("inner",)
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner: torch.Tensor):
        if not _STATE.float64 and inner.dtype in _FLOAT64:
            raise TypeError(f"the {NAME} device has no {inner.dtype}")
        return torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            device=torch.device(NAME, 0),
        )  # fmt: skip

    def __init__(self, inner: torch.Tensor):
        self.inner = inner

    def __repr__(self) -> str:
        return f"{self.inner!r} on {NAME}"

    @property
    def data(self):
        return torch.Tensor.data.__get__(self)

    @data.setter
    def data(self, other):
        torch.Tensor.data.__set__(self, other)
        self.inner = other.inner

    def tolist(self):
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False):
        raise TypeError(f"can't convert {self.device} device type tensor to numpy: use Tensor.cpu() first")

    def __array__(self, dtype=None):
        return self.numpy()

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class EmulatedGenerator(_RealGenerator):
    """A generator of the device: a CPU generator that says it is not one.

    Operations get it as another Python object, so it is known by the address of what both stand for.
    """

    def __init__(self, device: torch.device | str = NAME):
        _GENERATORS.add(self._cdata)

    def __del__(self):
        _GENERATORS.discard(self._cdata)

    @property
    def device(self) -> torch.device:
        return torch.device(NAME, 0)


class _Generators(type(_RealGenerator)):
    def __instancecheck__(cls, item: object) -> bool:
        return isinstance(item, _RealGenerator)


class _Generator(_RealGenerator, metaclass=_Generators):
    """Stands in for `torch.Generator`, which no Python code can teach a new device."""

    def __new__(cls, device: torch.device | str = "cpu"):
        if torch.device(device).type == NAME:
            return EmulatedGenerator()
        return _RealGenerator(device=device)


class _Rule:
    """What is known of an operation from its name and schema."""

    def __init__(self, func):
        schema = func._schema
        self.name = schema.name
        has_kernel = torch._C._dispatch_has_kernel_for_dispatch_key
        self.composite = has_kernel(func.name(), "CompositeImplicitAutograd")
        self.indexing, self.norm, self.waits = (self.name in names for names in (_INDEXING, _NORMS, _WAITS))
        self.copies = self.name in ("aten::copy_", "aten::_foreach_copy_", "aten::_foreach_copy")
        self.scalars = torch.Tag.pointwise in func.tags or self.indexing or self.name.startswith("aten::_f")
        self.reshapes = torch.Tag.inplace_view in func.tags
        self.generates = any("Generator" in str(item.type) for item in schema.arguments)
        self.written = any(item.alias_info is not None and item.alias_info.is_write for item in schema.arguments)


_RULES: dict[object, _Rule] = {}


def _run(func, args, kwargs):
    rule = _RULES.get(func) or _RULES.setdefault(func, _Rule(func))
    if rule.composite:
        done = func.decompose(*args, **kwargs)
        if done is not NotImplemented:
            return done
    operands = list(_tensors((*args, *kwargs.values()) if kwargs else args))
    _check_operands(rule, args, operands)
    if rule.generates:
        _check_generators(args, kwargs)
    target = kwargs.get("device")
    on_device = target is None or torch.device(target).type == NAME
    if _STATE.counts:
        _count(rule, args, operands, on_device)
    if rule.name == "aten::_fused_sdp_choice":
        return 0  # by plain operations: the CPU's fused kernel is not the device's
    plain = {name: _plain(item) for name, item in kwargs.items()}
    if target is not None:
        plain["device"] = torch.device("cpu")
    if "pin_memory" in plain:
        plain["pin_memory"] = False
    done = func(*map(_plain, args), **plain)
    known = {}
    if rule.written:
        known = {id(item.inner if isinstance(item, EmulatedTensor) else item): item for item in operands}
        _follow(rule, func, args, kwargs, known)
    # A view of a tensor from outside of inference mode is no inference tensor either.
    leaves = func.is_view and torch.is_inference_mode_enabled() and not operands[0].is_inference()
    with torch.inference_mode(False) if leaves else contextlib.nullcontext():
        return _wrapped(done, known, on_device and not (rule.copies and not isinstance(args[0], EmulatedTensor)))


def _follow(rule: _Rule, func, args, kwargs, known) -> None:
    """The wrappers take the new shapes of what was written in place."""
    if rule.reshapes:
        with torch.utils._mode_utils.no_dispatch():
            func(*args, **kwargs)
    for item in known.values():
        if isinstance(item, EmulatedTensor) and item.shape != item.inner.shape:
            raise NotImplementedError(f"{rule.name} changed the shape of a tensor of the {NAME} device")


def _tensors(items) -> Iterator[torch.Tensor]:
    for item in items:
        if isinstance(item, torch.Tensor):
            yield item
        elif isinstance(item, (list, tuple)):
            yield from _tensors(item)


def _plain(item):
    if isinstance(item, EmulatedTensor):
        return item.inner
    if isinstance(item, (list, tuple)):
        return type(item)(map(_plain, item))
    return item


def _wrapped(done, known, on_device: bool):
    if isinstance(done, torch.Tensor):
        found = known.get(id(done))
        return found if found is not None else EmulatedTensor(done) if on_device else done
    if isinstance(done, (list, tuple)):
        return type(done)(_wrapped(item, known, on_device) for item in done)
    return done


def _check_operands(rule: _Rule, args, operands) -> None:
    if rule.copies or rule.name == "aten::_to_copy":
        return
    if rule.norm:
        _check_norm(rule, args)
    on_cpu = [item for item in operands if not isinstance(item, EmulatedTensor)]
    if not on_cpu:
        return
    if rule.indexing:
        if not isinstance(args[0], EmulatedTensor):
            raise RuntimeError(f"indices should be on the same device as the indexed tensor (cpu), not on {NAME}")
        # The device takes indices from the CPU, at the price of a copy.
        taken = [] if len(args) < 2 else list(_tensors(args[1]))
        on_cpu = [item for item in on_cpu if not any(item is index for index in taken)]
    written_on_cpu = rule.written and args and isinstance(args[0], torch.Tensor) and any(args[0] is i for i in on_cpu)
    if written_on_cpu or any(item.dim() > 0 or not rule.scalars for item in on_cpu):
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, {NAME}:0 and cpu! "
            f"({rule.name})"
        )


def _check_norm(rule: _Rule, args) -> None:
    dtypes = {item.dtype for item in args[1:5] if isinstance(item, torch.Tensor)}
    given = args[0].dtype
    half = rule.name == "aten::native_batch_norm" and given in (torch.bfloat16, torch.float16)
    if not (dtypes <= {given} or (half and dtypes == {torch.float32})):
        raise RuntimeError(f"{rule.name}: expected weights and biases of the input's {given}, found {dtypes}")


def _check_generators(args, kwargs) -> None:
    for item in (*args, *kwargs.values()):
        if isinstance(item, _RealGenerator) and item._cdata not in _GENERATORS:
            raise RuntimeError(f"Expected a '{NAME}' device type for generator but found '{item.device.type}'")


def _count(rule: _Rule, args, operands, on_device: bool) -> None:
    waits = rule.waits or (not on_device and any(isinstance(item, EmulatedTensor) for item in operands))
    copies = 0
    if rule.copies:
        pairs = [args[:2]] if rule.name == "aten::copy_" else list(zip(args[0], args[1], strict=True))
        for there, here in pairs:
            to_device = isinstance(there, EmulatedTensor)
            copies += to_device and not isinstance(here, EmulatedTensor)
            waits = waits or (not to_device and isinstance(here, EmulatedTensor))
    if rule.indexing and len(args) > 1:
        indices = list(_tensors(args[1]))
        copies += sum(not isinstance(item, EmulatedTensor) for item in indices)
        waits = waits or any(item.dtype in (torch.bool, torch.uint8) for item in indices)
    for counts in _STATE.counts if copies or waits else ():
        place = _place(rule)
        counts.copies.extend([place] * int(copies))
        counts.waits.extend([place] * int(waits))


def _place(rule: _Rule) -> str:
    frame = sys._getframe()
    while frame is not None and ("/torch/" in frame.f_code.co_filename or frame.f_code.co_filename == __file__):
        frame = frame.f_back
    return f"{rule.name} at {frame.f_code.co_filename}:{frame.f_lineno}" if frame else rule.name


# ---- registration: once a process, before its first backward pass, since autograd counts the devices then


class _Module(backend_registration._DummyBackendModule):
    def get_amp_supported_dtype(self) -> list[torch.dtype]:
        return [torch.bfloat16, torch.float16]

    def is_autocast_enabled(self) -> bool:
        return torch.is_autocast_enabled(NAME)


_LIBRARIES: list[torch.library.Library] = []


def register() -> None:
    """Make `torch.device("emulated")` a device of this process."""
    if _LIBRARIES:
        return
    torch.Generator = _Generator
    backend_registration._setup_privateuseone_for_python_backend(NAME, backend_module=_Module())
    library = torch.library.Library("aten", "IMPL")
    others = torch.library.Library("_", "IMPL")
    others.fallback(torch.library.fallthrough_kernel, "AutocastPrivateUse1")
    _LIBRARIES.extend([library, others])
    library.impl("_copy_from", _copy_from, "PrivateUse1")
    for func in _factories():
        library.impl(func.name().removeprefix("aten::"), _factory(func), "PrivateUse1")
    for names, cast in ((_LOWER, _to_lower), (_FLOAT32, _to_float32), (_WIDEST, _to_widest)):
        for name in names:
            packet = getattr(torch.ops.aten, name)
            for overload in packet.overloads():
                if "out" not in overload and "dimname" not in overload and "names" not in overload:
                    func = getattr(packet, overload)
                    library.impl(func.name().removeprefix("aten::"), _autocast(func, cast), "AutocastPrivateUse1")


def _copy_from(source: torch.Tensor, there: torch.Tensor, non_blocking: bool = False) -> torch.Tensor:
    """What `torch.tensor(..., device=...)` copies with, below the wrappers' own dispatch."""
    return _run(torch.ops.aten.copy_.default, (there, source), {"non_blocking": non_blocking})


def _factories():
    """Operations that make a tensor on a device from no tensor at all."""
    for name in torch._C._dispatch_get_all_op_names():
        if not name.startswith("aten::"):
            continue
        packet, _, overload = name.removeprefix("aten::").partition(".")
        func = getattr(getattr(torch.ops.aten, packet), overload or "default")
        arguments = func._schema.arguments
        has_device = any(item.name == "device" for item in arguments)
        takes_tensor = any("Tensor" in str(item.type) for item in arguments)
        composite = torch._C._dispatch_has_kernel_for_dispatch_key(name, "CompositeImplicitAutograd")
        if has_device and not takes_tensor and not composite and "names" not in name:
            yield func


def _factory(func):
    def made(*args, **kwargs):
        _check_generators(args, kwargs)
        return EmulatedTensor(func(*args, **{**kwargs, "device": torch.device("cpu"), "pin_memory": False}))

    return made


# ---- autocast: CUDA's lists, as far as networks here use them

_LOWER = (
    "conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "convolution", "linear", "matmul", "mm", "mv",
    "bmm", "addmm", "addmv", "addbmm", "baddbmm", "prelu", "scaled_dot_product_attention",
)  # fmt: skip
_FLOAT32 = (
    "layer_norm", "native_layer_norm", "group_norm", "softmax", "log_softmax", "exp", "expm1", "log", "log1p", "log2",
    "log10", "pow", "rsqrt", "reciprocal", "softplus", "norm", "logsumexp", "sum", "prod", "cumsum", "cumprod", "cdist",
    "mse_loss", "l1_loss", "smooth_l1_loss", "nll_loss", "kl_div", "binary_cross_entropy_with_logits", "erfinv",
    "cosh", "sinh", "tan", "acos", "asin",
)  # fmt: skip
_WIDEST = ("addcmul", "addcdiv", "cat", "stack", "dot", "scatter_add", "atan2")


def _autocast(func, cast):
    excluded = torch._C.DispatchKeySet(torch._C.DispatchKey.AutocastPrivateUse1)

    def run(*args, **kwargs):
        args, kwargs = cast(args), dict(zip(kwargs, cast(tuple(kwargs.values())), strict=True))
        with torch._C._ExcludeDispatchKeyGuard(excluded):
            return func(*args, **kwargs)

    return run


def _cast(item, dtype):
    if isinstance(item, EmulatedTensor) and item.is_floating_point() and item.dtype != torch.float64:
        return item.to(dtype)
    if isinstance(item, (list, tuple)):
        return type(item)(_cast(part, dtype) for part in item)
    return item


def _to_lower(args):
    return tuple(_cast(item, torch.get_autocast_dtype(NAME)) for item in args)


def _to_float32(args):
    return tuple(_cast(item, torch.float32) for item in args)


def _to_widest(args):
    dtypes = {item.dtype for item in _tensors(args)}
    return tuple(_cast(item, torch.float32) for item in args) if torch.float32 in dtypes else args
