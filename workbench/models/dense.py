"""Blocks that change one vector at a time: Dense, Normalize, Dropout and LayerNorm, and the table of activations."""

from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor, nn
from torch.nn import functional as F

from workbench.models.base import Features, Module
from workbench.models.types import trusted

__all__ = ["ACTIVATIONS", "Dense", "Dropout", "LayerNorm", "Normalize", "activation", "activation_name"]

ACTIVATIONS: dict[str, type[nn.Module]] = {  # all that a model folder may name, by the full name that it writes
    f"{kind.__module__}.{kind.__qualname__}": kind
    for kind in (
        *(nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.Identity),
        *(nn.LeakyReLU, nn.LogSigmoid, nn.Mish, nn.PReLU, nn.ReLU, nn.ReLU6, nn.RReLU, nn.SELU, nn.SiLU),
        *(nn.Sigmoid, nn.Softplus, nn.Softshrink, nn.Softsign, nn.Tanh, nn.Tanhshrink),
    )
}
_BY_SHORT_NAME = {f"torch.nn.{kind.__name__}": kind for kind in ACTIVATIONS.values()}
_TANH = nn.Tanh()
_SENTENCE = "sentence_embedding"


def activation(name: str) -> nn.Module:
    """Return the activation that a folder calls ``name``, such as ``torch.nn.modules.activation.Tanh``.

    Raises:
        UnsafeModelError: the name is not in ``ACTIVATIONS``; nothing is imported, and the message lists the choices.
    """
    return trusted("activation function", name, ACTIVATIONS | _BY_SHORT_NAME)()


def activation_name(module: nn.Module) -> str:
    """Return the full name under which ``module`` is saved.

    Raises:
        ValueError: the name would not bring the module back: your own class, or settings like ``nn.ELU(alpha=2.0)``.
    """
    name = f"{type(module).__module__}.{type(module).__qualname__}"
    if name not in ACTIVATIONS or repr(ACTIVATIONS[name]()) != repr(module):
        raise ValueError(
            f"The activation function {module!r} cannot be saved, since a model folder holds only its name. Use one of "
            f"{', '.join(kind.__name__ for kind in ACTIVATIONS.values())} with default settings, or your own block."
        )
    return name


class _Renaming(Module):
    """A block that reads one feature and writes another; folders name the two only where they are not the default."""

    config_keys: ClassVar[tuple[str, ...]] = ("module_input_name", "module_output_name")

    def __init__(self, module_input_name: str = _SENTENCE, module_output_name: str | None = None) -> None:
        super().__init__()
        self.module_input_name = module_input_name
        self.module_output_name = module_output_name or module_input_name

    def get_config_dict(self) -> dict[str, Any]:
        later = {"module_input_name": _SENTENCE, "module_output_name": _SENTENCE, "use_residual": False}
        return {key: value for key, value in super().get_config_dict().items() if later.get(key) != value}


class Dense(_Renaming):
    """A linear layer with an activation: ``activation(W x + b)``, along the last axis.

    Args:
        in_features: length of the vectors that come in, as ``out_features`` of those that go out.
        bias: whether ``b`` is there.
        activation_function: any module of one tensor; None or ``nn.Identity()`` for a plain linear map.
        init_weight: first value of ``W``, (out_features, in_features), as ``init_bias`` of ``b``.
        module_input_name: the feature to read; it is also the one to write, unless ``module_output_name`` says so.
        use_residual: add the input (through a second linear map where the lengths differ) to the output.
    """

    config_keys = ("in_features", "out_features", "bias", "activation_function", "use_residual", *_Renaming.config_keys)

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool = True,
        activation_function: nn.Module | None = _TANH,
        init_weight: Tensor | None = None,
        init_bias: Tensor | None = None,
        module_input_name: str = _SENTENCE,
        module_output_name: str | None = None,
        use_residual: bool = False,
    ) -> None:
        super().__init__(module_input_name, module_output_name)
        self.in_features, self.out_features, self.bias = in_features, out_features, bias
        self.use_residual = use_residual
        self.activation_function = activation_function or nn.Identity()
        self.linear = nn.Linear(in_features, out_features, bias=bias)
        if use_residual and in_features != out_features:
            self.residual = nn.Linear(in_features, out_features, bias=False)
        first = {"weight": init_weight, "bias": init_bias if bias else None}
        self.linear.load_state_dict({key: value for key, value in first.items() if value is not None}, strict=False)

    def forward(self, features: Features, **kwargs: Any) -> Features:
        """Map the input feature, (…, in_features), to (…, out_features)."""
        x = features[self.module_input_name]
        y = self.activation_function(self.linear(x))
        if self.use_residual:
            y = y + (x if self.in_features == self.out_features else self.residual(x))
        features[self.module_output_name] = y
        return features

    def get_sentence_embedding_dimension(self) -> int:
        """Length of the vectors this block gives."""
        return self.out_features

    def get_config_dict(self) -> dict[str, Any]:
        """The constructor's arguments as JSON values, the activation by its full name."""
        return super().get_config_dict() | {"activation_function": activation_name(self.activation_function)}

    @classmethod
    def _rename_config(cls, config: dict[str, Any]) -> dict[str, Any]:
        name = config.get("activation_function")
        return config if name is None else config | {"activation_function": activation(name)}


class Normalize(_Renaming):
    """Scale every vector to length 1, so that the dot product is the cosine."""

    def forward(self, features: Features, **kwargs: Any) -> Features:
        """Divide by the Euclidean length along the last axis."""
        features[self.module_output_name] = F.normalize(features[self.module_input_name], p=2, dim=-1)
        return features

    @classmethod
    def load(cls, input_path: str | Path) -> Self:
        """Make the block; the folders of earlier versions are empty or absent."""
        return super().load(input_path) if (Path(input_path) / cls.config_file).exists() else cls()


class Dropout(Module):
    """Set each number of a sentence embedding to 0 with probability ``dropout``, while training only."""

    config_keys = ("dropout",)

    def __init__(self, dropout: float = 0.2) -> None:
        super().__init__()
        self.dropout = dropout
        self.dropout_layer = nn.Dropout(dropout)

    def forward(self, features: Features, **kwargs: Any) -> Features:
        """Drop numbers in training mode; do nothing in evaluation mode."""
        features[_SENTENCE] = self.dropout_layer(features[_SENTENCE])
        return features


class LayerNorm(Module):
    """Layer normalisation of the sentence embedding, with a learned scale and shift (Ba et al., arXiv:1607.06450)."""

    config_keys = ("dimension",)

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.dimension = dimension
        self.norm = nn.LayerNorm(dimension)

    def forward(self, features: Features, **kwargs: Any) -> Features:
        """Normalise: (rows, dimension) to the same shape."""
        features[_SENTENCE] = self.norm(features[_SENTENCE])
        return features

    def get_sentence_embedding_dimension(self) -> int:
        """Length of the vectors this block gives."""
        return self.dimension
