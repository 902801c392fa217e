// Runs pytest in Pyodide: CPython 3.14 as 32-bit WebAssembly, where framewire is plain Python.
//
//     node packaging/wasm.mjs NODE_MODULES SITE_PACKAGES [argument of pytest ...]
import { pathToFileURL } from "node:url";
import { resolve } from "node:path";

const [modules, site, ...words] = process.argv.slice(2);
const { loadPyodide } = await import(pathToFileURL(resolve(modules, "pyodide/pyodide.mjs")));
const python = await loadPyodide();
for (const [root, at] of [[process.cwd(), "/framewire"], [resolve(site), "/site"]]) {
  python.FS.mkdirTree(at);
  python.FS.mount(python.FS.filesystems.NODEFS, { root }, at);
}
python.globals.set("words", python.toPy(words));
process.exitCode = await python.runPythonAsync(`
import os, platform, sys

print(f"CPython {platform.python_version()}, {platform.machine()}")
sys.path[:0] = ["/framewire/src", "/site"]
os.chdir("/framewire")
os.environ["FRAMEWIRE_BACKEND"] = "pure"
import pytest

int(pytest.main(["-p", "no:cacheprovider", *words]))
`);
