init();
document.addEventListener("click", function (event) {
    var cell = event.target;
    if (!cell.matches || !cell.matches("td.function") || typeof search !== "function" || !document.getElementById("frames")) return;
    if (searching) search_prompt();
    unzoom();
    var name = cell.textContent.replace(/[.*+?^${}()|[\]\\]/g, "\\$&");
    // `[libfoo.so]` in a table stands for all of `[libfoo.so+0x1234]`.
    search("^" + name.replace(/\\\]$/, "(\\+0x[0-9a-f]+)?\\]") + "$");
    document.getElementById("picture").scrollIntoView({ block: "nearest" });
});
