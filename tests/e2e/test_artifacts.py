#!/usr/bin/env python3
"""`hadal artifacts`: what it writes is the same every time, and is accepted by those who will read it: systemd, Kubernetes'
schemas, Go's templates, a parser of Compose files, skopeo and umoci, dpkg, nginx, HAProxy and nftables, each where it is
installed; the image and the archive are unpacked and run.

Runs $HD_PROGRAM (else build/release/hadal).  Beside Python's own: PyYAML, kubernetes-validate, compose-spec.
"""

import gzip
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import unittest
from pathlib import Path

from scripted import PROGRAM, make_scripted
from server import Server

try:
    import yaml
except ImportError:
    yaml = None
try:
    import kubernetes_validate
except ImportError:
    kubernetes_validate = None
try:
    import compose_spec
except ImportError:
    compose_spec = None

TIMEOUT = 120  # seconds; an image takes some seconds, nearly all of it compression
IMAGE_MAX = 40_000_000  # bytes of all layers, as they are stored and sent
EXPOSURE_MAX = 1.5  # of `systemd-analyze security`; docs/deploy.md states the figure
HERE = Path(__file__).resolve().parent


def run(*words, code=0, **more):
    done = subprocess.run([str(w) for w in words], capture_output=True, timeout=TIMEOUT, check=False, text=True, **more)
    if code is not None and done.returncode != code:
        raise AssertionError(f"{words}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done


def need(program):
    found = shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if not found:
        raise unittest.SkipTest(f"{program} is not installed")
    return found


class Artifacts(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="hadal-artifacts-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def make(self, target, *words, name=None, **settings):
        out = self.folder / (name or target)
        sets = [w for key, value in settings.items() for w in ("--set", f"{key}={value}")]
        done = run(PROGRAM, "artifacts", target, "--out", out, *words, *sets)
        written = sorted(str(p) for p in out.rglob("*") if p.is_file())
        self.assertEqual(sorted(done.stdout.splitlines()), written)
        return out

    def contents(self, folder):
        return {str(p.relative_to(folder)): (p.stat().st_mode, p.read_bytes()) for p in folder.rglob("*") if p.is_file()}


class SameBytes(Artifacts):
    def test_twice(self):
        targets = re.findall(r"(?m)^ +([a-z-]+)  +\S", run(PROGRAM, "artifacts", "--help").stdout.split("TARGET is one of:")[1]
                             .split("OPTIONS")[0])
        self.assertGreaterEqual(set(targets), {"oci", "compose", "kubernetes", "helm", "systemd", "deb", "rpm", "tar"})
        for target in targets:
            with self.subTest(target=target):
                one = self.make(target, name="one")
                os.environ["TZ"], kept = "Asia/Shanghai", os.environ.get("TZ")
                two = self.make(target, name="two")
                os.environ.pop("TZ") if kept is None else os.environ.update(TZ=kept)
                self.assertEqual(self.contents(one), self.contents(two))
                self.assertTrue(self.contents(one))
                shutil.rmtree(one), shutil.rmtree(two)

    def test_a_description_is_what_the_options_are(self):
        out = self.make("description", model="r1.gguf", memoryLimit="64Gi")
        by_file = self.make("kubernetes", "--from", out / "hadal.yaml", name="file")
        by_option = self.make("kubernetes", name="option", model="r1.gguf", memoryLimit="64Gi")
        self.assertEqual(self.contents(by_file), self.contents(by_option))
        self.assertIn("r1.gguf", (by_file / "deployment.yaml").read_text())

    def test_wrong_words(self):
        for words, says in [
            (["kubernets", "--out", "x"], "did you mean kubernetes?"),
            ([], "TARGET is missing"),
            (["helm"], "--out DIR is missing"),
            (["helm", "--out", "x", "--set", "port=80"], "a number from 1024 to 65535"),
            (["helm", "--out", "x", "--set", "prot=8080"], "no key 'prot'"),
            (["helm", "--out", "x", "--model", "a b"], "model is 'a b'"),
            (["helm", "--out", "x", "--set", "hpa"], "KEY=VALUE"),
        ]:
            done = run(PROGRAM, "artifacts", *words, code=2, cwd=self.folder)
            self.assertIn(says, done.stderr)
            self.assertEqual(list(self.folder.iterdir()), [])
        bad = self.folder / "bad.yaml"
        bad.write_text("port: [1]\n")
        self.assertIn("line 1", run(PROGRAM, "artifacts", "helm", "--out", "x", "--from", bad, code=1).stderr)


# ---- systemd ----


class Systemd(Artifacts):
    def unit(self, **settings):
        """The unit as written, but for the path of the program and of the model, which are not there."""
        unit = self.make("systemd", **settings) / "hadal.service"
        text = unit.read_text()
        self.assertIn("ExecStart=/usr/bin/hadal serve", text)
        unit.write_text(text.replace("/usr/bin/hadal serve", f"{PROGRAM} serve"))
        return unit

    def test_verify(self):
        analyze = need("systemd-analyze")
        for tls in ("false", "true"):
            done = run(analyze, "verify", "--man=no", self.unit(tls=tls), code=None)
            ours = [line for line in done.stderr.splitlines() if "hadal.service" in line]
            self.assertEqual(ours, [], done.stderr)

    def test_security(self):
        done = run(need("systemd-analyze"), "security", "--offline=yes", self.unit(), code=None)
        match = re.search(r"exposure level for hadal.service: ([\d.]+)", done.stdout)
        if not match:
            raise unittest.SkipTest(f"this systemd-analyze does not judge units that are not running: {done.stderr}")
        self.assertLessEqual(float(match[1]), EXPOSURE_MAX)

    def test_the_command_line_is_right(self):
        text = self.unit().read_text().replace("\\\n", " ")
        words = re.search(r"(?m)^ExecStart=(.*)$", text)[1].replace("$HADAL_OPTIONS", "").split()
        words[words.index("--data") + 1] = str(self.folder / "data")
        done = run(*words, code=1)  # the model is not there; every option is known
        self.assertIn("/var/lib/hadal/models/model.gguf", done.stderr)


# ---- Kubernetes ----


def documents(folder):
    """{(kind, name): document} of all manifests."""
    out = {}
    for path in sorted(folder.rglob("*.yaml")):
        document = yaml.safe_load(path.read_text())
        if document and "kind" in document and document["kind"] != "Kustomization":
            out[document["kind"], document["metadata"]["name"]] = document
    return out


def render(text, values):
    """A second implementation of the part of Go's templates that our charts use (src/ops/render.h)."""
    out, stack = [], []
    pieces = re.split(r"(\{\{.*?\}\})", text, flags=re.S)
    for i in range(1, len(pieces), 2):
        if pieces[i].startswith("{{- "):
            pieces[i - 1] = pieces[i - 1].rstrip()
        if pieces[i].endswith(" -}}"):
            pieces[i + 1] = pieces[i + 1].lstrip()
    for i, piece in enumerate(pieces):
        if i % 2 == 0:
            if all(stack):
                out.append(piece)
            continue
        words = piece.strip("{}-").split()
        value = lambda path: values[path]
        if words[0] == "if":
            truth = bool(value(words[-1]))
            stack.append(truth != (words[1] == "not"))
        elif words[0] == "else":
            stack[-1] = not stack[-1]
        elif words[0] == "end":
            stack.pop()
        elif all(stack):
            shown = value(words[0])
            shown = str(shown).lower() if isinstance(shown, bool) else str(shown)
            out.append(f'"{shown}"' if words[1:] == ["|", "quote"] else shown)
    return "".join(out)


GO = """package main

import ("fmt"; "os"; "text/template"; "encoding/json"; "path/filepath")

func main() {
    data := map[string]interface{}{}
    file, _ := os.ReadFile(os.Args[1])
    if err := json.Unmarshal(file, &data); err != nil { panic(err) }
    quote := func(v interface{}) string { return fmt.Sprintf("%q", fmt.Sprint(v)) }
    for _, path := range os.Args[3:] {
        text, _ := os.ReadFile(path)
        t := template.Must(template.New("t").Option("missingkey=error").Funcs(template.FuncMap{"quote": quote}).Parse(string(text)))
        out, _ := os.Create(filepath.Join(os.Args[2], filepath.Base(path)))
        if err := t.Execute(out, data); err != nil { panic(err) }
    }
}
"""

ALL_ON = {"serviceMonitor": "true", "inferencePool": "true", "tlsSecret": "hadal-tls", "storageClass": "fast"}


@unittest.skipUnless(yaml, "PyYAML is not installed")
class Kubernetes(Artifacts):
    def test_schemas(self):
        if not kubernetes_validate:
            raise unittest.SkipTest("kubernetes-validate is not installed")
        known = 0
        cases = ({}, ALL_ON, {"keda": "true", "hpa": "false"}, {"networkPolicy": "false", "createModelsClaim": "false"})
        for number, settings in enumerate(cases):
            for document in documents(self.make("kubernetes", name=f"case{number}", **settings)).values():
                try:
                    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)
                    known += 1
                except kubernetes_validate.SchemaNotFoundError:
                    self.assertIn(document["kind"], {"ScaledObject", "ServiceMonitor", "InferencePool"})
        self.assertGreaterEqual(known, 24)

    def test_restricted(self):
        """The restricted profile of the Pod Security Standards, word by word."""
        every = documents(self.make("kubernetes"))
        pod = every["Deployment", "hadal"]["spec"]["template"]["spec"]
        self.assertTrue(pod["securityContext"]["runAsNonRoot"])
        self.assertEqual(pod["securityContext"]["seccompProfile"], {"type": "RuntimeDefault"})
        for word in ("hostNetwork", "hostPID", "hostIPC"):
            self.assertNotIn(word, pod)
        self.assertTrue(all(set(v) - {"name"} <= {"persistentVolumeClaim", "emptyDir", "secret"} for v in pod["volumes"]))
        (container,) = pod["containers"]
        context = container["securityContext"]
        self.assertFalse(context["allowPrivilegeEscalation"])
        self.assertEqual(context["capabilities"], {"drop": ["ALL"]})
        self.assertTrue(context["readOnlyRootFilesystem"])
        self.assertEqual(set(container["resources"]), {"requests", "limits"})
        self.assertEqual(every["Namespace", "hadal"]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"], "restricted")

    def test_drain_fits(self):
        deployment = documents(self.make("kubernetes", drainSeconds="100", preStopSeconds="20"))["Deployment", "hadal"]
        pod = deployment["spec"]["template"]["spec"]
        container = pod["containers"][0]
        drain = int(container["args"][container["args"].index("--drain") + 1])
        before = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        self.assertEqual((drain, before), (100, 20))
        self.assertGreater(pod["terminationGracePeriodSeconds"], drain + before)

    def test_scaling(self):
        every = documents(self.make("kubernetes"))
        metrics = every["HorizontalPodAutoscaler", "hadal"]["spec"]["metrics"]
        self.assertEqual([(m["pods"]["metric"]["name"], m["pods"]["target"]["averageValue"]) for m in metrics],
                         [("vllm_num_requests_waiting", "4"), ("hadal_requests_per_second", "200")])
        triggers = every["ScaledObject", "hadal"]["spec"]["triggers"]
        self.assertIn("vllm:num_requests_waiting", triggers[0]["metadata"]["query"])
        self.assertEqual(triggers[1]["metadata"]["threshold"], "200")
        self.assertNotIn("replicas", every["Deployment", "hadal"]["spec"])
        plain = documents(self.make("kubernetes", name="plain", hpa="false", replicas="3"))
        self.assertEqual(plain["Deployment", "hadal"]["spec"]["replicas"], 3)
        self.assertNotIn(("HorizontalPodAutoscaler", "hadal"), plain)

    def test_the_metrics_are_there(self):
        """What scaling asks for is what a server shows."""
        with Server(make_scripted(self.folder / "m", ["Hi"])) as server:
            server.post("/v1/completions", {"prompt": "a", "max_tokens": 2})
            names = set(server.metrics())
        text = "".join(p.read_text() for p in self.make("kubernetes").rglob("*.yaml"))
        asked = set(re.findall(r"vllm:\w+", text))
        self.assertEqual(asked, {"vllm:num_requests_waiting", "vllm:request_success_total"})
        self.assertLessEqual(asked, names)

    def test_probes_and_keys_of_the_manifest(self):
        """The arguments of the pod, as they are, but for the folders: it starts, is ready, and takes the Secret's key."""
        model = make_scripted(self.folder / "m", ["Hi"])
        container = documents(self.make("kubernetes"))["Deployment", "hadal"]["spec"]["template"]["spec"]["containers"][0]
        made = run(PROGRAM, "key", "create", "--data", self.folder / "other")
        secret = self.folder / "api-key"
        secret.write_text(made.stdout)
        args = [a.replace("/models/model.gguf", str(model)).replace("/run/secrets/hadal/api-key", str(secret)) for a in container["args"]]
        for name in ("--port", "--host", "--data"):
            at = args.index(name)
            del args[at : at + 2]
        self.assertEqual(args[:2], ["serve", "--model-path"])
        server = Server(args[2], args=args[3:], auth=None)
        server.command.remove("--no-auth") if "--no-auth" in server.command else None
        with server:
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                self.assertEqual(server.get(container[probe]["httpGet"]["path"], key=None)[0], 200)
            self.assertEqual(server.get("/v1/models", key=None)[0], 401)
            self.assertEqual(server.get("/v1/models", key=made.stdout.strip())[2]["data"][0]["id"], "deepseek")
            run(PROGRAM, "health", "--port", server.port, "--ready")
        run(PROGRAM, "health", "--port", server.port, code=1)


@unittest.skipUnless(yaml, "PyYAML is not installed")
class Helm(Artifacts):
    def values(self, chart, **more):
        values = {f".Values.{k}": v for k, v in yaml.safe_load((chart / "values.yaml").read_text()).items()}
        values.update({f".Values.{k}": v for k, v in more.items()})
        return {**values, ".Release.Name": "hadal", ".Release.Namespace": "hadal"}

    def check(self, rendered, plain):
        got = {k: v for text in rendered for v in [yaml.safe_load(text)] if v for k in [(v["kind"], v["metadata"]["name"])]}
        wanted = {k: v for k, v in documents(plain).items() if k[0] != "Namespace" and k in got}
        self.assertEqual(got, wanted)
        return set(kind for kind, _ in got)

    def each(self):
        for number, settings in enumerate(({}, ALL_ON, {"keda": "true", "hpa": "false", "networkPolicy": "false"})):
            yield self.make("helm", name=f"chart{number}", **settings), self.make("kubernetes", name=f"plain{number}", **settings)

    def test_own_renderer(self):
        kinds = set()
        for chart, plain in self.each():
            values = self.values(chart)
            kinds |= self.check([render(p.read_text(), values) for p in sorted((chart / "templates").iterdir())], plain)
        self.assertEqual(kinds, {"Deployment", "Service", "ServiceAccount", "PersistentVolumeClaim", "PodDisruptionBudget",
                                 "NetworkPolicy", "HorizontalPodAutoscaler", "ScaledObject", "ServiceMonitor", "InferencePool"})

    def test_go(self):
        """The engine that Helm uses: Go's text/template, with Helm's quote; numbers are floats, as Helm has them."""
        go = need("go")
        (self.folder / "render.go").write_text(GO)
        environment = dict(os.environ, GOFLAGS="-mod=mod", GOCACHE=str(self.folder / "cache"), GO111MODULE="off")
        run(go, "build", "-o", self.folder / "render", self.folder / "render.go", env=environment)
        for chart, plain in self.each():
            data = {"Values": yaml.safe_load((chart / "values.yaml").read_text()), "Release": {"Name": "hadal", "Namespace": "hadal"}}
            (self.folder / "values.json").write_text(json.dumps(data))
            out = Path(tempfile.mkdtemp(dir=self.folder))
            run(self.folder / "render", self.folder / "values.json", out, *sorted((chart / "templates").iterdir()))
            self.check([p.read_text() for p in out.iterdir()], plain)
            for made in out.iterdir():  # not only the same meaning: the same bytes
                for same in plain.rglob(made.name):
                    if made.read_text().strip():
                        self.assertEqual(made.read_text().lstrip("\n"), same.read_text())

    def test_helm(self):
        helm = need("helm")
        for chart, plain in self.each():
            out = run(helm, "template", "hadal", chart, "--namespace", "hadal").stdout
            self.check(out.split("\n---\n"), plain)

    def test_chart(self):
        chart = self.make("helm")
        head = yaml.safe_load((chart / "Chart.yaml").read_text())
        self.assertEqual((head["apiVersion"], head["name"]), ("v2", "hadal"))
        self.assertRegex(head["version"], r"^\d+\.\d+\.\d+$")


# ---- containers ----


class Compose(Artifacts):
    def test_it_loads(self):
        if not compose_spec:
            raise unittest.SkipTest("compose-spec is not installed")
        for settings in ({}, {"tls": "true"}):
            text = (self.make("compose", **settings) / "compose.yaml").read_text()
            text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)  # as an engine does before it parses
            compose = compose_spec.PyCompose.from_yaml(text)
            compose.validate()
            self.assertEqual(list(compose.service_names()), ["hadal"])

    @unittest.skipUnless(yaml, "PyYAML is not installed")
    def test_what_it_says(self):
        out = self.make("compose", "--model", "r1.gguf", "--image", "registry.lan/hadal:2", tls="true")
        service = yaml.safe_load((out / "compose.yaml").read_text())["services"]["hadal"]
        self.assertIn("registry.lan/hadal:2", service["image"])
        words = service["command"]
        self.assertEqual(words[0], "serve")
        self.assertIn("/models/${HADAL_MODEL:-r1.gguf}", words[words.index("--model-path") + 1])
        self.assertEqual(words[words.index("--precision") + 1], "${HADAL_PRECISION:-auto}")
        self.assertIn("--ca", service["healthcheck"]["test"])
        self.assertTrue(service["read_only"] and service["volumes"][0]["read_only"])
        self.assertEqual(service["cap_drop"], ["ALL"])


class Image(Artifacts):
    @classmethod
    def setUpClass(cls):
        cls.shared = Path(tempfile.mkdtemp(prefix="hadal-image-"))
        cls.addClassCleanup(shutil.rmtree, cls.shared, ignore_errors=True)
        cls.oci = cls.shared / "oci"
        run(PROGRAM, "artifacts", "oci", "--out", cls.oci, "--image", "registry.lan:5000/hadal:7")
        cls.root = cls.shared / "root"
        cls.root.mkdir()
        cls.index = json.loads((cls.oci / "index.json").read_text())
        cls.manifest = cls.blob(cls.index["manifests"][0])
        cls.config = cls.blob(cls.manifest["config"])
        for layer in cls.manifest["layers"]:
            with tarfile.open(fileobj=io.BytesIO(cls.bytes_of(layer))) as tar:
                tar.extractall(cls.root)

    @classmethod
    def bytes_of(cls, descriptor):
        kind, digest = descriptor["digest"].split(":")
        data = (cls.oci / "blobs" / kind / digest).read_bytes()
        assert len(data) == descriptor["size"] and hashlib.sha256(data).hexdigest() == digest
        return data

    @classmethod
    def blob(cls, descriptor):
        return json.loads(cls.bytes_of(descriptor))

    def test_digests_and_size(self):
        layers = [self.bytes_of(layer) for layer in self.manifest["layers"]]
        plain = ["sha256:" + hashlib.sha256(gzip.decompress(layer)).hexdigest() for layer in layers]
        self.assertEqual(self.config["rootfs"]["diff_ids"], plain)
        self.assertLess(sum(map(len, layers)), IMAGE_MAX)
        self.assertEqual(self.index["manifests"][0]["annotations"]["org.opencontainers.image.ref.name"], "7")

    def test_config(self):
        config = self.config["config"]
        self.assertNotIn(config["User"].split(":")[0], ("", "0", "root"))
        self.assertEqual(config["Healthcheck"]["Test"][:3], ["CMD", "/usr/bin/hadal", "health"])
        self.assertEqual(config["Entrypoint"], ["/usr/bin/hadal"])
        self.assertEqual(config["Cmd"][:2], ["serve", "--model-path"])

    def test_nothing_is_too_open(self):
        for layer in self.manifest["layers"]:
            with tarfile.open(fileobj=io.BytesIO(self.bytes_of(layer))) as tar:
                for member in tar:
                    self.assertEqual(member.mtime, 0)
                    self.assertEqual(member.mode & 0o6000, 0, member.name)
                    if member.name != "tmp":
                        self.assertEqual(member.mode & 0o022, 0, member.name)

    def test_skopeo(self):
        skopeo = need("skopeo")
        seen = json.loads(run(skopeo, "inspect", f"oci:{self.oci}:7").stdout)
        self.assertEqual(len(seen["Layers"]), 2)
        run(skopeo, "--insecure-policy", "copy", f"oci:{self.oci}:7", f"dir:{self.folder / 'copy'}")
        run(skopeo, "--insecure-policy", "copy", f"oci:{self.oci}:7", f"docker-archive:{self.folder / 'archive.tar'}:hadal:7")

    def test_umoci(self):
        words = ["--rootless"] if os.geteuid() else []
        run(need("umoci"), "unpack", *words, "--image", f"{self.oci}:7", self.folder / "bundle")
        self.assertTrue((self.folder / "bundle/rootfs/usr/bin/hadal").exists())

    def test_its_root_answers(self):
        """In a chroot, as an ordinary user, with nothing of this machine."""
        if os.geteuid() != 0:
            raise unittest.SkipTest("only root can change its root")
        if "Sanitizer" in run(PROGRAM, "version", code=None).stderr:
            raise unittest.SkipTest("a program with a sanitizer needs more of a machine")
        model = make_scripted(self.root / "models/m", ["Hello from a small root!"])
        run("chmod", "-R", "a+rX", model)
        user = ["chroot", "--userspec=65532:65532", self.root, "/usr/bin/hadal"]
        environment = {"PATH": os.environ["PATH"] + ":/usr/sbin", "HOME": "/data"}
        for folder in (self.shared, self.root):
            folder.chmod(0o755)
        self.assertIn("Hello from a small root!", run(*user, "run", "/models/m", "-p", "Hi", env=environment).stdout)
        self.assertNotIn("/bin/sh", [str(p) for p in self.root.rglob("*")])


# ---- packages ----


class Packages(Artifacts):
    def test_deb(self):
        (package,) = self.make("deb", version="1.2.3").iterdir()
        self.assertRegex(package.name, r"^hadal_1\.2\.3_(amd64|arm64)\.deb$")
        fields = run(need("dpkg-deb"), "--field", package).stdout
        self.assertIn("Version: 1.2.3\n", fields)
        self.assertRegex(fields, r"Depends: libc6 \(>= 2\.\d+\), .*libssl3")
        root = self.folder / "root"
        run("dpkg-deb", "-R", package, root)
        self.assertEqual((root / "usr/bin/hadal").read_bytes(), Path(PROGRAM).read_bytes())
        for script in ("postinst", "prerm", "postrm"):
            run("sh", "-n", root / "DEBIAN" / script)
        self.assertEqual((root / "DEBIAN/conffiles").read_text(), "/etc/hadal/options\n")

    def test_rpm(self):
        rpm = need("rpm")
        (package,) = self.make("rpm", version="1.2.3").iterdir()
        self.assertRegex(package.name, r"^hadal-1\.2\.3-1\.(x86_64|aarch64)\.rpm$")
        said = run(rpm, "--nosignature", "-K", "-v", package).stdout
        self.assertEqual(len(re.findall("SHA256 digest: OK", said)), 2, said)
        self.assertEqual(run(rpm, "-qp", "--queryformat", "%{NAME} %{VERSION}", package).stdout, "hadal 1.2.3")
        self.assertEqual(run(rpm, "-qpc", package).stdout, "/etc/hadal/options\n")
        if os.geteuid() != 0:
            raise unittest.SkipTest("only root can install into a folder")
        root = self.folder / "root"
        words = [rpm, "--root", root, "--dbpath", "/var/lib/rpm", "--nosignature"]
        root.mkdir()
        run(*words, "-i", "--noscripts", package)
        run(*words, "-V", "hadal")
        self.assertRegex(run(root / "usr/lib/hadal/hadal", "version").stdout, "^hadal ")
        run(*words, "-e", "--noscripts", "hadal")
        self.assertFalse((root / "usr/lib/hadal").exists())

    def test_tar(self):
        """Runs with its own loader and libraries, also when the environment would lead it astray."""
        (package,) = self.make("tar", version="1.2.3").iterdir()
        with tarfile.open(package) as tar:
            self.assertTrue(all(m.mtime == 0 and m.name.startswith("hadal-1.2.3-linux-") for m in tar))
            tar.extractall(self.folder)
        (home,) = self.folder.glob("hadal-1.2.3-linux-*/")
        self.assertTrue(list((home / "lib").glob("libc.so.6")) and list((home / "lib").glob("ld-linux*")))
        link = self.folder / "a link"
        link.symlink_to(home / "hadal")
        self.assertRegex(run(link, "version").stdout, r"^hadal ")
        self.assertIn("New enough on: ", (home / "README.txt").read_text())
        # An image made from there is the same: libraries are known by name, wherever they lie.
        run(link, "artifacts", "oci", "--out", self.folder / "again")
        self.assertEqual(self.contents(self.make("oci"))["index.json"], self.contents(self.folder / "again")["index.json"])

    def test_distributions(self):
        said = run(PROGRAM, "artifacts", "--distributions").stdout
        needs = tuple(map(int, re.search(r"version (\d+)\.(\d+)", said).groups()))
        readelf = need("readelf")
        versions = re.findall(r"GLIBC_(\d+)\.(\d+)", run(readelf, "--version-info", "--wide", PROGRAM).stdout)
        self.assertEqual(needs, max((int(a), int(b)) for a, b in versions))
        self.assertRegex(said, r"New enough on: Debian 12")


# ---- examples around the service ----


class Around(Artifacts):
    def certificates(self, out, name="hadal.example.internal"):
        openssl = need("openssl")
        run(openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}", "-keyout",
            out / "x.key", "-out", out / "x.crt")
        (out / "x.pem").write_text((out / "x.crt").read_text() + (out / "x.key").read_text())
        return out

    def test_nginx(self):
        nginx = need("nginx")
        out = self.certificates(self.make("proxy"))
        text = (out / "nginx.conf").read_text().replace("/etc/nginx/tls/hadal.example.internal", str(out / "x"))
        text = text.replace("/var/log/nginx/", str(out) + "/").replace("/run/nginx.pid", str(out / "pid"))
        (out / "nginx.conf").write_text(text)
        run(nginx, "-t", "-c", out / "nginx.conf")

    def test_haproxy(self):
        haproxy = need("haproxy")
        out = self.certificates(self.make("proxy"))
        config = out / "haproxy.cfg"
        config.write_text(config.read_text().replace("/etc/haproxy/hadal.example.internal", str(out / "x")))
        run(haproxy, "-c", "-f", config)

    def test_nftables(self):
        nft, unshare = need("nft"), need("unshare")
        if run(unshare, "-n", "true", code=None).returncode:
            raise unittest.SkipTest("no network namespace can be made here")
        rules = self.make("nftables") / "nftables.conf"
        done = run(unshare, "-n", nft, "-c", "-f", rules, code=None)
        if "Operation not permitted" in done.stderr or "not supported" in done.stderr:
            raise unittest.SkipTest(f"nftables do not work here: {done.stderr}")
        self.assertEqual(done.returncode, 0, done.stderr)

    @unittest.skipUnless(yaml, "PyYAML is not installed")
    def test_cloud_init(self):
        text = (self.make("cloud-init") / "user-data.yaml").read_text()
        self.assertTrue(text.startswith("#cloud-config\n"))
        self.assertIsInstance(yaml.safe_load(text)["runcmd"], list)


if __name__ == "__main__":
    unittest.main()
