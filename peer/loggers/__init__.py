"""Where what a run measures goes besides its own files: loggers, TensorBoard, pictures by round."""

from peer.loggers.logger import Logger, Loggers, check_loggers, open_loggers
from peer.loggers.pictures import Pictures

__all__ = ["Logger", "Loggers", "Pictures", "check_loggers", "open_loggers"]
