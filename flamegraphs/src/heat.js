(function () {
    var ROWS = 50, CELL = 20000, SECOND = 1000000, HEIGHT = 5, AXIS = 18, data = JSON.parse(document.getElementById("data").textContent);
    function numbers(text) {
        var bytes = atob(text), out = [], value = 0, factor = 1;
        for (var at = 0; at < bytes.length; at++) {
            var byte = bytes.charCodeAt(at);
            value += (byte & 127) * factor;
            if (byte & 128) factor *= 128; else { out.push(value); value = 0; factor = 1; }
        }
        return out;
    }
    var stacks = numbers(data.stacks), events = numbers(data.events);
    data.callers = new Uint32Array(stacks.length / 2 + 1);
    data.label = new Uint32Array(stacks.length / 2 + 1);
    for (var at = 0; at < stacks.length / 2; at++) {
        data.callers[at + 1] = at + 1 - stacks[2 * at];
        data.label[at + 1] = stacks[2 * at + 1];
    }
    for (var now = 0, at = 0; at < events.length; at += 3) events[at] = now += events[at];
    var first = Math.floor(data.from_us / SECOND), last = Math.max(first + 1, Math.ceil(data.to_us / SECOND));
    var columns = last - first, base = first * SECOND, cells = new Float64Array(columns * ROWS), most = 0;
    // What an event adds to the time from one moment to another.
    function part(at, from, to) {
        if (data.unit !== null) return events[at] >= from && events[at] < to ? 1 : 0;
        return Math.max(0, Math.min(to, events[at] + events[at + 1]) - Math.max(from, events[at]));
    }
    for (var at = 0; at < events.length; at += 3) {
        var end = Math.max(events[at] + 1, events[at] + events[at + 1]);
        for (var cell = Math.floor((events[at] - base) / CELL); base + cell * CELL < end; cell++)
            if (cell >= 0 && cell < cells.length) cells[cell] += part(at, base + cell * CELL, base + (cell + 1) * CELL);
    }
    for (var at = 0; at < cells.length; at++) most = Math.max(most, cells[at]);
    function words(value) {
        if (data.unit !== null) return Math.round(value).toLocaleString("en") + " " + (value === 1 ? data.unit.replace(/s$/, "") : data.unit);
        return value >= SECOND ? (value / SECOND).toFixed(2) + " s" : value >= 1000 ? (value / 1000).toFixed(1) + " ms" : Math.round(value) + " us";
    }
    function seconds(us) { return (us / SECOND).toFixed(2); }
    function clock(us) { return new Date(data.started_ms + us / 1000).toISOString().slice(11, 23) + " UTC"; }
    function start_of(cell) { return base + cell * CELL; }

    var show = flame_graph(data, words), map = document.getElementById("map"), wide = document.getElementById("wide");
    var canvas = document.getElementById("cells"), context = canvas.getContext("2d"), tooltip = document.getElementById("tooltip");
    var status = document.getElementById("status"), width = 4;
    var cursor = 0, shown_cursor = false, anchor = -1, chosen = null;
    function style(name) { return getComputedStyle(document.documentElement).getPropertyValue(name).trim(); }
    function shade(share) {
        var cold = style("--cold").split(","), hot = style("--hot").split(",");
        // What is not nothing must not look like it.
        var at = share > 0 ? 0.12 + 0.88 * share : 0;
        return "rgb(" + cold.map(function (from, i) { return Math.round(+from + (hot[i] - from) * at); }).join(",") + ")";
    }
    var shades = [];
    function prepare() {
        shades = [];
        for (var step = 0; step <= 64; step++) shades.push(shade(step / 64));
        var scale = document.getElementById("shades").getContext("2d");
        shades.forEach(function (colour, step) { scale.fillStyle = colour; scale.fillRect(step * 160 / 65, 0, 3, 12); });
        document.getElementById("most").textContent = words(most) + " in a cell";
        width = Math.max(4, Math.min(16, Math.floor(map.clientWidth / columns)));
        wide.style.width = Math.max(map.clientWidth, columns * width) + "px";
        canvas.width = map.clientWidth;
        canvas.height = ROWS * HEIGHT + AXIS;
        draw();
    }
    function draw() {
        var left = Math.floor(map.scrollLeft / width), count = Math.ceil(canvas.width / width) + 1, shift = map.scrollLeft - left * width;
        var grid = style("--grid"), ink = style("--dim"), blue = style("--chosen"), bottom = ROWS * HEIGHT;
        context.clearRect(0, 0, canvas.width, canvas.height);
        context.font = "11px system-ui, sans-serif";
        var step = [1, 2, 5, 10, 20, 30, 60, 120, 300].find(function (step) { return step * width >= 60; }) || 600;
        for (var column = left; column < Math.min(columns, left + count); column++) {
            var x = (column - left) * width - shift;
            for (var row = 0; row < ROWS; row++) {
                var cell = column * ROWS + row, y = bottom - (row + 1) * HEIGHT;
                var inside = start_of(cell) < data.to_us && start_of(cell + 1) > data.from_us;
                context.fillStyle = inside ? shades[Math.ceil(64 * cells[cell] / (most || 1))] : grid;
                context.fillRect(x, y, width - (width > 6 ? 1 : 0), HEIGHT - 1);
                if (chosen && cell >= chosen[0] && cell <= chosen[1] || cell === anchor) {
                    context.fillStyle = "rgba(" + blue + "," + (cell === anchor ? 0.9 : 0.4) + ")";
                    context.fillRect(x, y, width, HEIGHT);
                }
                if (shown_cursor && cell === cursor) {
                    context.strokeStyle = style("--ink");
                    context.lineWidth = 1.5;
                    context.strokeRect(x - 0.5, y - 0.5, width, HEIGHT);
                }
            }
            if ((column + first) % step === 0) {
                context.fillStyle = ink;
                context.fillRect(x, bottom, 1, 4);
                context.fillText(column + first + " s", x + 3, bottom + 13);
            }
        }
    }
    function tell(cell) { return seconds(start_of(cell)) + " to " + seconds(start_of(cell + 1)) + " s, " + clock(start_of(cell)) + ": " + words(cells[cell]); }
    function graph(from, to) {
        var own = new Float64Array(data.callers.length), sum = 0;
        for (var at = 0; at < events.length && events[at] < to; at += 3) {
            var value = part(at, from, to);
            own[events[at + 2]] += value;
            sum += value;
        }
        status.textContent = words(sum) + " from " + seconds(Math.max(from, data.from_us)) + " to " + seconds(Math.min(to, data.to_us)) + " s";
        show(own);
    }
    function choose_all(keep) {
        anchor = -1; chosen = null;
        graph(Math.min(data.from_us, base), last * SECOND);
        if (!keep) history_say("");
        draw();
    }
    function choose(one, other) {
        chosen = [Math.min(one, other), Math.max(one, other)];
        anchor = -1;
        graph(start_of(chosen[0]), start_of(chosen[1] + 1));
        draw();
    }
    // A page from a file may not change its address in all browsers.
    function history_say(text) { try { history.replaceState(null, "", text || location.pathname + location.search); } catch (_) {} }
    function pick(cell) {
        if (anchor < 0) {
            anchor = cell; chosen = null;
            status.textContent = "From " + seconds(start_of(cell)) + " s: choose where it ends.";
            draw();
        } else {
            choose(anchor, cell);
            history_say("#from=" + seconds(start_of(chosen[0])) + "&to=" + seconds(start_of(chosen[1] + 1)));
        }
    }
    function by_address() {
        var parts = new URLSearchParams(location.hash.slice(1)), from = parts.get("from"), to = parts.get("to");
        if (from === null && to === null) return choose_all(true);
        // A number that stands exactly between two cells is not always the number it looks like.
        var cell = function (text, or) { return text === null || isNaN(text) ? or : Math.round((text * SECOND - base) / CELL); };
        var limit = function (cell) { return Math.max(0, Math.min(cells.length - 1, cell)); };
        var begin = limit(cell(from, 0));
        choose(begin, Math.max(begin, limit(cell(to, cells.length) - 1)));
        cursor = chosen[0];
        reveal();
    }
    function cell_at(event) {
        var box = canvas.getBoundingClientRect(), x = event.clientX - box.left + map.scrollLeft, row = ROWS - 1 - Math.floor((event.clientY - box.top) / HEIGHT);
        var column = Math.floor(x / width);
        return row >= 0 && row < ROWS && column >= 0 && column < columns ? column * ROWS + row : -1;
    }
    function reveal() {
        var x = Math.floor(cursor / ROWS) * width;
        if (x < map.scrollLeft || x + width > map.scrollLeft + map.clientWidth) map.scrollLeft = x - map.clientWidth / 2;
    }
    function point(text, x, y) {
        tooltip.hidden = !text;
        tooltip.textContent = text;
        tooltip.style.left = Math.max(0, Math.min(x + 12, window.scrollX + document.documentElement.clientWidth - tooltip.offsetWidth - 8)) + "px";
        tooltip.style.top = y + 16 + "px";
    }
    canvas.addEventListener("mousemove", function (event) {
        var cell = cell_at(event);
        point(cell < 0 ? "" : tell(cell), event.pageX, event.pageY);
    });
    canvas.addEventListener("mouseleave", function () { point(""); });
    canvas.addEventListener("click", function (event) {
        var cell = cell_at(event);
        if (cell >= 0) { cursor = cell; shown_cursor = false; pick(cell); }
    });
    map.addEventListener("keydown", function (event) {
        var steps = { ArrowUp: 1, ArrowDown: -1, ArrowRight: ROWS, ArrowLeft: -ROWS, PageDown: 10 * ROWS, PageUp: -10 * ROWS, Home: -cells.length, End: cells.length };
        if (event.key in steps) {
            cursor = Math.max(0, Math.min(cells.length - 1, cursor + steps[event.key]));
            shown_cursor = true;
            reveal();
            draw();
            status.textContent = tell(cursor);
        } else if (event.key === "Enter" || event.key === " ") { shown_cursor = true; pick(cursor); }
        else if (event.key === "Escape") choose_all();
        else return;
        event.preventDefault();
    });
    map.addEventListener("blur", function () { shown_cursor = false; draw(); });
    map.addEventListener("scroll", draw);
    document.getElementById("all").addEventListener("click", function () { choose_all(); });
    window.addEventListener("resize", prepare);
    window.addEventListener("hashchange", by_address);
    if (window.matchMedia) matchMedia("(prefers-color-scheme: dark)").addEventListener("change", prepare);
    prepare();
    by_address();
})();
