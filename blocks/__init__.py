"""Everything outside: one family a folder, one adapter a file, each a Prefect block that people set in the UI."""
