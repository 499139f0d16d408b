"""Scanners: tools that read trees as data and say what is new against base. A tool that fails is a no."""

from blocks.scanners.bandit import RULES as BANDIT_RULES
from blocks.scanners.bandit import Bandit
from blocks.scanners.kingfisher import RULES as KINGFISHER_RULES
from blocks.scanners.kingfisher import Kingfisher
from blocks.scanners.ruff import RULES as RUFF_RULES
from blocks.scanners.ruff import Ruff
from blocks.scanners.tool import FAILED
from domain.policy import Rule

__all__ = ["SCAN_RULES", "Bandit", "Kingfisher", "Ruff"]

SCAN_RULES: tuple[Rule[None], ...] = (*KINGFISHER_RULES, *RUFF_RULES, *BANDIT_RULES, FAILED)
