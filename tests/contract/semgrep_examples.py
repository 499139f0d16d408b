"""For each semgrep rule: what it must see, and honest code beside it that it must not."""

from typing import NamedTuple


class Example(NamedTuple):
    """A file. The lines with `BAD` in a comment, and no others, are findings of the rule."""

    path: str
    text: str


FLASK = "from flask import Flask, request, send_file, redirect\nimport requests\napp = Flask(__name__)\n"

EXAMPLES: dict[str, Example] = {
    "python-tls-verification-off": Example("a.py", """\
import aiohttp, httpx, requests, ssl
requests.get(url, verify=False, timeout=3)  # BAD
session.verify = False  # BAD
context.check_hostname = False  # BAD
httpx.Client(verify=False)  # BAD
ssl._create_unverified_context()  # BAD
context.verify_mode = ssl.CERT_NONE  # BAD
requests.get(url, verify="/etc/ssl/ca.pem", timeout=3)
requests.get(url, timeout=3)
"""),
    "python-shell": Example("a.py", """\
import os, subprocess
from subprocess import run
subprocess.run(f"ls {name}", shell=True)  # BAD
run("ls " + name, shell=True)  # BAD
os.system("rm " + name)  # BAD
os.popen(name)  # BAD
subprocess.run(["ls", name])
subprocess.run("ls | wc", shell=True)
os.system("clear")
"""),
    "python-yaml-load": Example("a.py", """\
import yaml
yaml.load(text)  # BAD
yaml.load(text, Loader=yaml.Loader)  # BAD
yaml.unsafe_load(text)  # BAD
yaml.safe_load(text)
yaml.load(text, Loader=yaml.SafeLoader)
yaml.load(text, yaml.CSafeLoader)
"""),
    "python-deserialization": Example("a.py", """\
import json, marshal, pickle
from pickle import loads
pickle.loads(data)  # BAD
loads(data)  # BAD
marshal.load(file)  # BAD
json.loads(data)
pickle.dumps(data)
"""),
    "python-model-file": Example("a.py", """\
import joblib, torch
import numpy as np
import pandas as pd
torch.load(path)  # BAD
joblib.load(path)  # BAD
pd.read_pickle(path)  # BAD
np.load(path, allow_pickle=True)  # BAD
torch.load(path, weights_only=True)
np.load(path)
pd.read_csv(path)
"""),
    "python-eval": Example("a.py", """\
import ast
eval(text)  # BAD
exec(compile(text, "x", "exec"))  # BAD
eval("1 + 1")
ast.literal_eval(text)
model.eval()
frame.eval("a + b")
"""),
    "python-sql-from-request": Example("a.py", FLASK + """\
@app.route("/a")
def a():
    name = request.args.get("name")
    db.execute(f"select * from t where name = '{name}'")  # BAD
    db.execute("select * from t where name = '%s'" % request.args["name"])  # BAD
    db.execute("select * from t where name = ?", (name,))
    sql = "select * from t where id = " + str(int(name))
    db.execute(sql)

@app.get("/b/{name}")
def b(name):
    sql = "select * from t where name = '" + name + "'"
    db.execute(sql)  # BAD
    db.execute("select * from t where name = ?", (name,))
"""),
    "python-sql-formatting": Example("a.py", """\
db.execute(f"select * from t where a = {a}")  # BAD
db.execute("select * from t where a = %s" % a)  # BAD
db.execute("select * from t where a = {}".format(a))  # BAD
cursor.execute("select * from t where a = '" + a + "'")  # BAD
db.execute("select * from t where a = %s", (a,))
db.execute("select * from t "
           "where a = ?", (a,))
pool.submit(f"a {b}")
"""),
    "python-password-hash": Example("a.py", """\
import hashlib
hashlib.md5(password.encode()).hexdigest()  # BAD
hashlib.sha1(user.password + salt)  # BAD
hashlib.md5(content).hexdigest()
hashlib.sha256(content).hexdigest()
"""),
    "python-password-fast-hash": Example("a.py", """\
import hashlib
hashlib.sha256(password.encode()).hexdigest()  # BAD
hashlib.sha512(salt + form.passwd)  # BAD
hashlib.sha256(content).hexdigest()
hashlib.scrypt(password, salt=salt, n=2, r=8, p=1)
"""),
    "python-jwt-unverified": Example("a.py", """\
import jwt
jwt.decode(token, options={"verify_signature": False})  # BAD
jwt.decode(token, key, algorithms=["none"])  # BAD
jwt.decode(token, key, verify=False)  # BAD
jwt.decode(token, key, algorithms=["HS256"])
data.decode("utf-8")
"""),
    "python-access-opened": Example("a.py", """\
@csrf_exempt  # BAD
def hook(request):
    pass

class A(APIView):
    permission_classes = [AllowAny]  # BAD

class B(APIView):
    permission_classes = [IsAuthenticated]
"""),
    "python-cors-credentials": Example("a.py", """\
app.add_middleware(CORSMiddleware, allow_origins=["*"], allow_credentials=True)  # BAD
app.add_middleware(CORSMiddleware, allow_credentials=True, allow_origins=["*"])  # BAD
app.add_middleware(CORSMiddleware, allow_origins=["https://shop.example"], allow_credentials=True)
"""),
    "python-cors-everyone": Example("a.py", """\
from flask_cors import CORS
app.add_middleware(CORSMiddleware, allow_origins=["*"])  # BAD
CORS(app)  # BAD
response.headers["Access-Control-Allow-Origin"] = "*"  # BAD
CORS(app, origins=["https://shop.example"])
response.headers["Access-Control-Allow-Origin"] = origin
"""),
    "python-debug-server": Example("a.py", """\
app.run(debug=True)  # BAD
app.run(port=80, debug=True)  # BAD
app.run()
app.run(debug=settings.debug)
asyncio.run(main(), debug=True)
"""),
    "python-debug": Example("a.py", """\
DEBUG = True  # BAD
app = FastAPI(debug=True)  # BAD
DEBUG = False
app = FastAPI()
"""),
    "python-listens-everywhere": Example("a.py", """\
uvicorn.run(app, host="0.0.0.0")  # BAD
sock.bind(("0.0.0.0", 80))  # BAD
sock.bind(("", 80))  # BAD
uvicorn.run(app, host="127.0.0.1")
sock.bind(("127.0.0.1", 0))
"""),
    "python-path-from-request": Example("a.py", FLASK + """\
from pathlib import Path
import os
@app.route("/a/<name>")
def a(name):
    open(os.path.join("/srv", name))  # BAD
    send_file("/srv/" + name)  # BAD
    open("/srv/index.html")
    open(os.path.basename(name))

@app.post("/b")
async def b(body):
    return Path("/srv", body["file"]).read_text()  # BAD

def c(path):
    return open(path)
"""),
    "python-url-from-request": Example("a.py", FLASK + """\
@app.route("/a")
def a():
    requests.get(request.args["url"], timeout=3)  # BAD
    return redirect(request.args.get("next"))  # BAD

@app.route("/b")
def b():
    requests.get("https://shop.example", params={"q": 1}, timeout=3)
    return redirect("/")
"""),
    "python-html-unescaped": Example("a.py", """\
from markupsafe import Markup
from flask import render_template_string
Markup(text)  # BAD
render_template_string(text)  # BAD
Markup("<b>")
render_template_string("<b>{{ a }}</b>", a=a)
"""),
    "python-guessable-token": Example("a.py", """\
import random, secrets
reset_token = "".join(random.choice(letters) for _ in range(20))  # BAD
token = random.randint(1, 9)  # BAD
token = secrets.token_hex()
colour = random.choice(colours)
"""),
    "python-program-from-request": Example("a.py", """\
import subprocess
from flask import request
subprocess.run(request.args["tool"].split(), check=True)  # BAD
subprocess.check_output(["git", "log", request.args["ref"]])  # BAD
subprocess.run(["git", "log", "--", str(int(request.args["n"]))], check=True)
subprocess.run(["git", "status"], check=True)
"""),
    "python-code-from-request": Example("a.py", """\
import importlib, logging.config
from flask import request
__import__(request.args["module"])  # BAD
importlib.import_module("plugins." + request.args["name"])  # BAD
logging.config.dictConfig(request.json)  # BAD
importlib.import_module(PLUGINS[0])
logging.config.dictConfig(CONFIG)
"""),
    "python-archive-unpacked": Example("a.py", """\
import shutil
shutil.unpack_archive(path, where)  # BAD
shutil.unpack_archive(path, where, filter="data")
def all_of(archive, where):
    for name in archive.namelist():
        with open(os.path.join(where, name), "wb") as file:  # BAD
            file.write(archive.read(name))
def all_below(archive, where):
    for name in archive.namelist():
        if (where / name).resolve().is_relative_to(where):
            (where / name).write_bytes(archive.read(name))
def sizes(archive):
    for name in archive.namelist():
        print(name, len(archive.read(name)))
"""),
    "python-secret-logged": Example("a.py", """\
import logging
log = logging.getLogger(__name__)
log.debug("signing with %r", secret_key)  # BAD
log.info(f"login {user} {password}")  # BAD
print("token", user.token)  # BAD
_stderr("auth: %s %s" % (user, password))  # BAD
log.debug("signing with %r", algorithm)
log.info("no password was given")
raise ValueError(token)
"""),
    "javascript-code-from-request": Example("a.js", """\
app.get("/a", (req, res) => {
  res.send(require(req.query.module)());  // BAD
  import("./plugins/" + req.params.name);  // BAD
  require("./plugins");
});
"""),
    "javascript-program-from-request": Example("a.js", """\
const { execFile } = require("child_process");
app.get("/a", (req, res) => {
  execFile(req.query.tool, ["-v"]);  // BAD
  execFile("git", ["log", req.query.ref]);  // BAD
  execFile("git", ["log", String(parseInt(req.query.n))]);
});
"""),
    "javascript-prototype-pollution": Example("a.js", """\
function merge(a, b) {
  for (const key in b) {
    if (typeof b[key] === "object") a[key] = merge(a[key] || {}, b[key]);  // BAD
    else a[key] = b[key];
  }
}
function safe(a, b) {
  for (const key in b) {
    if (key === "__proto__") continue;
    a[key] = safe(a[key], b[key]);
  }
}
function copied(a, b) {
  for (const key in b) a[key] = b[key];
}
"""),
    "javascript-secret-logged": Example("a.js", """\
console.log("login", req.body.password);  // BAD
logger.info(token);  // BAD
console.log("login", user.name);
console.log("no token");
"""),
    "javascript-shell": Example("a.js", """\
const cp = require("child_process");
const { execSync } = require("child_process");
cp.exec(`ls ${name}`);  // BAD
execSync("ls " + name);  // BAD
cp.exec(command);  // BAD
cp.spawn(command, [], { shell: true });  // BAD
cp.execFile("ls", [name]);
cp.exec("ls -l");
/a(.)/.exec(text);
const found = pattern.exec(line);
"""),
    "javascript-eval": Example("a.ts", """\
eval(text);  // BAD
const f = new Function("a", text);  // BAD
setTimeout(() => eval_(text), 10);
JSON.parse(text);
"""),
    "javascript-tls-verification-off": Example("a.ts", """\
new https.Agent({ keepAlive: true, rejectUnauthorized: false });  // BAD
process.env.NODE_TLS_REJECT_UNAUTHORIZED = "0";  // BAD
new https.Agent({ rejectUnauthorized: true });
"""),
    "javascript-sql": Example("a.ts", """\
db.query(`select * from t where a = ${a}`);  // BAD
db.query("select * from t where a = " + a, []);  // BAD
db.query("select * from t where a = $1", [a]);
sql`select * from t where a = ${a}`;
client.get(`/a/${b}`);
"""),
    "javascript-sql-from-request": Example("a.js", """\
app.get("/a", (req, res) => {
  const name = req.query.name;
  db.query(`select * from t where a = '${name}'`);  // BAD
  db.query("select * from t where a = $1", [req.query.name]);
});
"""),
    "javascript-html-unescaped": Example("a.tsx", """\
const A = () => <div dangerouslySetInnerHTML={{ __html: text }} />;  // BAD
node.innerHTML = text;  // BAD
document.write(text);  // BAD
node.innerHTML = "";
node.textContent = text;
const B = () => <div dangerouslySetInnerHTML={{ __html: DOMPurify.sanitize(text) }} />;
"""),
    "javascript-jwt-unverified": Example("a.js", """\
jwt.verify(token, key, { algorithms: ["none"] });  // BAD
jwt.verify(token, null);  // BAD
jwt.verify(token, key, { algorithms: ["RS256"] });
"""),
    "javascript-jwt-decoded": Example("a.js", """\
const claims = jwt.decode(token);  // BAD
jwt.verify(token, key, { ignoreExpiration: true });  // BAD
jwt.verify(token, key);
"""),
    "javascript-password-hash": Example("a.js", """\
crypto.createHash("md5").update(password).digest("hex");  // BAD
crypto.createHash("sha256").update(user.password).digest();  // BAD
crypto.createHash("sha256").update(content).digest("hex");
"""),
    "javascript-cors-everyone": Example("a.js", """\
app.use(cors());  // BAD
app.use(cors({ origin: "*" }));  // BAD
res.setHeader("Access-Control-Allow-Origin", "*");  // BAD
app.use(cors({ origin: ["https://shop.example"] }));
"""),
    "javascript-listens-everywhere": Example("a.js", """\
app.listen(80, "0.0.0.0");  // BAD
app.listen(80);
app.listen(80, "127.0.0.1");
"""),
    "javascript-path-from-request": Example("a.js", """\
app.get("/a", (req, res) => {
  res.sendFile(path.join("/srv", req.params.name));  // BAD
  fs.readFileSync("/srv/" + req.query.name);  // BAD
  fs.readFileSync("/srv/index.html");
  fs.readFileSync(path.basename(req.params.name));
});
"""),
    "javascript-url-from-request": Example("a.js", """\
app.get("/a", async (req, res) => {
  await fetch(req.query.url);  // BAD
  res.redirect(req.query.next);  // BAD
  await fetch("https://shop.example");
});
"""),
    "javascript-guessable-token": Example("a.js", """\
const token = Math.random().toString(36);  // BAD
const colour = colours[Math.floor(Math.random() * 3)];
const sessionId = crypto.randomUUID();
"""),
    "javascript-cookie-open": Example("a.js", """\
res.cookie("session", id, { httpOnly: false });  // BAD
res.cookie("session", id, { httpOnly: true, secure: true });
"""),
    "page-html-unescaped": Example("a.vue", """\
<p v-html="text"></p>  <!-- BAD -->
<p>{{ text }}</p>
<script>node.innerHTML = text  // BAD
node.textContent = text</script>
"""),
    "container-privileged": Example("docker-compose.yml", """\
services:
  a:
    privileged: true  # BAD
    cap_add: [SYS_ADMIN]  # BAD
    security_opt: ["seccomp:unconfined"]  # BAD
  b:
    # privileged: true would be too much
    privileged: false
    cap_drop: [ALL]
    cap_add: [NET_BIND_SERVICE]
"""),
    "container-engine-socket": Example("compose.yaml", """\
services:
  a:
    volumes:
      - /var/run/docker.sock:/var/run/docker.sock  # BAD
      - data:/data
"""),
    "container-host-files": Example("compose.yaml", """\
services:
  a:
    volumes:
      - /:/host  # BAD
      - /etc:/etc:ro  # BAD
      - /srv/shop:/srv
      - ./etc:/etc/shop
      - data:/data
"""),
    "container-host-network": Example("compose.yaml", """\
services:
  a:
    network_mode: host  # BAD
    pid: "host"  # BAD
    user: root  # BAD
  b:
    network_mode: bridge
    user: "10001"
    hostname: host
"""),
    "piped-to-shell": Example("Dockerfile", """\
FROM debian:12
RUN curl -fsSL https://shop.example/install.sh | sh  # BAD
RUN wget -qO- https://shop.example/x | sudo -E bash -  # BAD
RUN bash -c "$(curl -fsSL https://shop.example/x)"  # BAD
RUN curl -fsSLo x.tgz https://shop.example/x.tgz && echo "$SUM x.tgz" | sha256sum -c
RUN curl https://shop.example/a.json | jq .shape
"""),
    "download-unverified": Example("Dockerfile", """\
RUN curl -k https://shop.example  # BAD
RUN wget --no-check-certificate https://shop.example  # BAD
RUN pip install --trusted-host shop.example shop  # BAD
ENV NODE_TLS_REJECT_UNAUTHORIZED=0  # BAD
RUN curl -fsSL https://shop.example/k
RUN pip install shop
"""),
    "dockerfile-root": Example("app.Dockerfile", """\
FROM debian:12
USER root  # BAD
USER 0:0  # BAD
USER app
USER rooty
"""),
    "dockerfile-remote-file": Example("Dockerfile", """\
ADD https://shop.example/x /x  # BAD
ADD --checksum=sha256:00 https://shop.example/x /x
ADD . /app
"""),
    "world-writable": Example("run.sh", """\
chmod 777 /srv  # BAD
chmod -R a+w /srv  # BAD
chmod 755 /srv
chmod u+w /srv
"""),
    "cors-everyone": Example("nginx.conf", """\
add_header Access-Control-Allow-Origin *;  # BAD
add_header Access-Control-Allow-Origin https://shop.example;
"""),
}  # fmt: skip
