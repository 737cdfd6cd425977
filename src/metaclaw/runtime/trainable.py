"""Whether the model's weights are trained with these settings on this machine, and why not, in words."""

from __future__ import annotations

import logging
from importlib.util import find_spec

from metaclaw.config.settings import Settings
from metaclaw.config.slow_loop import TrainingSettings

log = logging.getLogger(__name__)

NO_TORCH = "Training needs PyTorch: pip install 'metaclaw[train]', and start again."


def weights_words(settings: Settings) -> str:
    """What becomes of the model's weights, in words."""
    if not settings.embedded:
        return "never trained: a provider answers, and has no weights to train. Skills only"
    if not settings.training.enabled:
        return "not trained: training.enabled is off"
    return f"trained while you are away; served by {settings.serving.engine}"


def cannot_train(settings: Settings) -> str:
    """Why there is no slow loop with these settings; '' where there is one."""
    if not settings.training.enabled:
        return "Training is off. Set training.enabled = true, and start again."
    if not settings.embedded:
        return "With a provider there is no model here to train: skills only."
    return ""


def has_extras(training: TrainingSettings) -> bool:
    """Whether what training needs is installed; the log says what is not."""
    needed = {"torch": "train"} | ({"tinker": "tinker"} if training.backend == "tinker" else {})
    for module, extra in needed.items():
        if find_spec(module) is None:
            log.warning("No training: %s is not installed. Add it with pip install 'metaclaw[%s]'.", module, extra)
            return False
    return True
