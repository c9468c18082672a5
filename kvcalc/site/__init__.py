"""``kvcalc site``: models, mechanisms and engines as a folder of pages that any web server hands out.

A page is one file of ``pages/``: it takes what was computed once (``subject.py``) and gives HTML;
``drawings/`` makes its SVG, ``frame.py`` what stands around it. No page asks a network: styles, scripts
and the index of the search are files of the folder.
"""
