// Run pytest in Pyodide, CPython 3.14 as 32-bit WebAssembly, on the pure backend.
//
//     node packaging/wasm.mjs NODE_MODULES SITE_PACKAGES [PYTEST-ARGUMENT ...]
import { pathToFileURL } from "node:url";
import { resolve } from "node:path";

const [modules, site, ...words] = process.argv.slice(2);
const { loadPyodide } = await import(pathToFileURL(resolve(modules, "pyodide/pyodide.mjs")));
const python = await loadPyodide();
for (const [root, mountPoint] of [[process.cwd(), "/framewire"], [resolve(site), "/site"]]) {
  python.FS.mkdirTree(mountPoint);
  python.FS.mount(python.FS.filesystems.NODEFS, { root }, mountPoint);
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
