"""Where untrusted code runs: an interface in domain.ports, one adapter a file.

bubblewrap.py is the block; confinement.py builds its command line and seccomp.py its system call filter; processes.py
runs one command to its end and transcript.py bounds what it prints; trees.py puts trees in and takes them out, on top
of hostile.py, which touches files that an agent may write.
"""
