"""Scanners: tools that read trees as data and say what is new against base. A tool that fails is a no."""

from blocks.scanners.bandit import RULES as BANDIT_RULES
from blocks.scanners.bandit import Bandit
from blocks.scanners.dependencies import Dependencies
from blocks.scanners.gitleaks import RULES as GITLEAKS_RULES
from blocks.scanners.gitleaks import Gitleaks
from blocks.scanners.kingfisher import RULES as KINGFISHER_RULES
from blocks.scanners.kingfisher import Kingfisher
from blocks.scanners.ruff import RULES as RUFF_RULES
from blocks.scanners.ruff import Ruff
from blocks.scanners.semgrep import RULES as SEMGREP_RULES
from blocks.scanners.semgrep import Semgrep
from blocks.scanners.squawk import RULES as SQUAWK_RULES
from blocks.scanners.squawk import Squawk
from blocks.scanners.tool import FAILED
from blocks.scanners.zizmor import RULES as ZIZMOR_RULES
from blocks.scanners.zizmor import Zizmor
from domain.policy import Rule

__all__ = [
    "SCAN_RULES",
    "Bandit",
    "Dependencies",
    "Gitleaks",
    "Kingfisher",
    "Ruff",
    "Semgrep",
    "Squawk",
    "Zizmor",
]

SCAN_RULES: tuple[Rule[None], ...] = (
    *KINGFISHER_RULES,
    *GITLEAKS_RULES,
    *RUFF_RULES,
    *BANDIT_RULES,
    *SEMGREP_RULES,
    *ZIZMOR_RULES,
    *SQUAWK_RULES,
    FAILED,
)
