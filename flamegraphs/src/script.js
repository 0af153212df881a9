
// Additions to inferno's script.
function save_state(state, unused, uri) {
    // Not allowed in sandboxed frames and pages without an address; the picture works without it.
    try { history.replaceState(state, unused, uri); } catch (refused) {}
}
function restore_zoom(params) {
    for (var i = 0; i < frames.children.length; i++) {
        var a = find_child(frames.children[i], "rect").attributes;
        if (a["fg:x"].value == params.x && a.y.value == params.y) return zoom(frames.children[i]);
    }
}
function search_expression(term) {
    // `operator()(` is what people paste, and no valid expression.
    try { return new RegExp(term); } catch (invalid) { return new RegExp(term.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")); }
}
function show_no_match() {
    matchedtxt.classList.remove("hide");
    matchedtxt.firstChild.nodeValue = "Matched: nothing";
}
function fit_headings(width) {
    // The title leaves room for the buttons at both sides.
    [["title", 240], ["subtitle", 20]].forEach(function (heading) {
        var element = document.getElementById(heading[0]);
        if (!element) return;
        var full = element.fullText = element.fullText || element.textContent;
        element.textContent = full;
        var room = Math.floor(full.length * (width - heading[1]) / element.getComputedTextLength());
        if (full.length <= room || room < 4) return;
        var tail = Math.floor(room / 2);
        element.textContent = full.substring(0, room - tail - 1) + "\u2026" + full.substring(full.length - tail);
    });
}
function short_name(txt, room) {
    // Without hash, arguments and generics, then without leading path; the full name is in the hover line.
    var name = txt.trim().replace(/::h[0-9a-f]{16}$/, ""), out = "", depth = 0;
    var operator = name.search(/\boperator\b/);
    if (operator >= 0) return name.substring(operator);
    // Python's `<module>` and `f.<locals>.<lambda>` are names, not generics.
    if (/<(module|locals|lambda|listcomp|dictcomp|setcomp|genexpr)>/.test(name)) return name;
    // Go's `main.(*Server).Serve` has its type in parentheses.
    if (!/\.\(/.test(name)) {
        for (var i = 0; i < name.length; i++) {
            if (name[i] == "<" || name[i] == "(") depth++;
            else if ((name[i] == ">" || name[i] == ")") && depth > 0) depth--;
            else if (depth == 0) out += name[i];
        }
        out = out.replace(/^(::)+/, "").replace(/(::)+$/, "").replace(/(::){2,}/g, "::").trim();
        if (out) name = out;
    }
    while (name.length > room && name.indexOf("::") > 0) name = name.substring(name.indexOf("::") + 2);
    return name;
}
window.addEventListener("load", function () {
    // A picture that is higher than the window begins with its deepest stack, which is narrow: stacks grow from below.
    var alone = document.documentElement.localName === "svg";
    if (alone && !inverted) scrollTo(0, document.documentElement.getBoundingClientRect().height);
});
