"""Where untrusted code runs: an interface in domain.ports, one adapter a file.

bubblewrap.py and docker.py are the blocks. What they open are workspace.py and docker_workspace.py: both are a
working_copy.py, with commands of their own. For bubblewrap, confinement.py says what a command gets; the command line
itself, the system call filter and the relay to the gateway are in blocks/host/. processes.py runs one command to its
end and transcript.py bounds what it prints. trees.py puts trees in and takes them out, layers.py keeps large ones
once, merged.py reads what lies over them and archives.py what is saved, all on top of hostile.py, which touches files
of an agent.
"""
