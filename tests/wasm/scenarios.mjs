// Run scenarios of tests/api/browser_scenarios.py in Pyodide: in a page, which calls `load`, or in
// node, which reads arguments of `run_scenario` as JSON from each line and prints the log.

// Return a function that runs the scenario of such arguments; `archive` has the Python modules.
export async function load(archive) {
    const { loadPyodide } = await import("./node_modules/pyodide/pyodide.mjs");
    const python = await loadPyodide();
    python.unpackArchive(archive, "zip");
    await python.runPythonAsync("import json; from scenario_runner import run_scenario");
    return words => {
        python.globals.set("words", words);
        return python.runPythonAsync("json.dumps(await run_scenario(*json.loads(words)))");
    };
}

if (globalThis.process) {
    const { readFile } = await import("node:fs/promises");
    const { createInterface } = await import("node:readline");
    globalThis.WebSocket ??= (await import("./node_modules/ws/wrapper.mjs")).WebSocket; // before node 22
    const run = await load(new Uint8Array(await readFile("archive.zip")));
    for await (const words of createInterface({ input: process.stdin })) console.log(await run(words));
    process.exit();
}
