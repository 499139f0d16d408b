// A few keys, and comments at lines. Every page works without it.
"use strict";
