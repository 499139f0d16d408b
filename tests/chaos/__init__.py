"""`make chaos`: a real station under random faults, while briefs, releases and users go on; looked at from outside."""
