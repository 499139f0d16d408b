"""The desk: a small page of the station's own, for those who answer, watch and release. It is served at the door.

`app.py` tells what happens to a request, `sessions.py` knows who is signed in, `forms.py` reads what a form sent, and
`pages.py` makes HTML of it. Each screen has a file that collects what is on it: `waiting.py`, `reviews.py` (with
`diffs.py`); `moves.py` tells the page of a task when to look again. Whatever the desk changes it asks of the door, as
the person who is signed in.
"""
