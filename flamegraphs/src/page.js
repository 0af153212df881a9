init();
document.addEventListener("click", function (event) {
    var cell = event.target;
    if (!cell.matches || !cell.matches("td.function") || typeof search !== "function" || !document.getElementById("frames")) return;
    if (searching) search_prompt();
    unzoom();
    search("^" + cell.textContent.replace(/[.*+?^${}()|[\]\\]/g, "\\$&") + "$");
    document.getElementById("picture").scrollIntoView({ block: "nearest" });
});
