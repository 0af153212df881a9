"use strict";
// Draws the stacks in `data` with the values of `own`, by stack; `words` says what a value is.
function flame_graph(data, words) {
    var ROW = 18, LETTER = 7.25, LEAST = 0.3;
    var picture = document.getElementById("picture"), details = document.getElementById("details");
    var unzoom = document.getElementById("unzoom"), search = document.getElementById("search");
    var matched = document.getElementById("matched"), legend = document.getElementById("legend");
    var count = data.callers.length, total = new Float64Array(count), children = [], zoomed = 0, deepest = 0;
    function name(stack) { return stack ? data.labels[data.label[stack]][0] : "all"; }
    function percent(value) { return (100 * value / total[0]).toFixed(2) + "%"; }
    function title(stack) { return name(stack) + " (" + words(total[stack]) + ", " + percent(total[stack]) + ")"; }
    function show(own) {
        total = Float64Array.from(own);
        children = [];
        for (var stack = count - 1; stack > 0; stack--) {
            if (total[stack] <= 0) continue;
            var caller = data.callers[stack];
            total[caller] += total[stack];
            (children[caller] = children[caller] || []).push(stack);
        }
        children.forEach(function (list) {
            list.sort(function (a, b) { return name(a) < name(b) ? -1 : name(a) > name(b) ? 1 : a - b; });
        });
        zoomed = 0;
        draw();
    }
    function make(tag, attributes, parent) {
        var element = document.createElementNS("http://www.w3.org/2000/svg", tag);
        for (var key in attributes) element.setAttribute(key, attributes[key]);
        if (parent) parent.appendChild(element);
        return element;
    }
    function draw() {
        var width = Math.max(600, picture.clientWidth), boxes = [], kinds = {};
        var path = [];
        for (var at = zoomed; at; at = data.callers[at]) path.unshift(at);
        path.unshift(0);
        path.forEach(function (stack, depth) { boxes.push([stack, 0, width, depth]); });
        deepest = path.length - 1;
        var scale = width / total[zoomed], todo = [[zoomed, 0, deepest]];
        while (todo.length) {
            var next = todo.pop(), x = next[1];
            (children[next[0]] || []).forEach(function (child) {
                var wide = total[child] * scale;
                if (wide >= LEAST) {
                    boxes.push([child, x, wide, next[2] + 1]);
                    deepest = Math.max(deepest, next[2] + 1);
                    todo.push([child, x, next[2] + 1]);
                }
                x += wide;
            });
        }
        var height = (deepest + 1) * ROW + 4, svg = make("svg", { width: width, height: height, role: "img" });
        svg.setAttribute("aria-label", "Flame graph");
        var term = expression();
        boxes.forEach(function (box) {
            if (!(total[0] > 0)) return;
            var stack = box[0], colour = stack ? data.labels[data.label[stack]][1] : "#d6d6d0";
            if (stack) kinds[data.labels[data.label[stack]][2]] = colour;
            var y = height - (box[3] + 1) * ROW - 2, group = make("g", { "data-stack": stack }, svg), classes = [];
            if (box[3] < path.length - 1) classes.push("below");
            if (term && stack && term.test(name(stack))) classes.push("lit");
            group.setAttribute("class", classes.join(" "));
            make("title", {}, group).textContent = title(stack);
            make("rect", { x: box[1], y: y, width: Math.max(box[2] - 0.4, 0.2), height: ROW - 1, rx: 2, fill: colour }, group);
            var letters = Math.floor((box[2] - 6) / LETTER), text = name(stack);
            if (letters >= 3) {
                if (text.length > letters) text = text.slice(0, letters - 2) + "..";
                make("text", { x: box[1] + 3, y: y + 13 }, group).textContent = text;
            }
        });
        picture.replaceChildren(svg);
        // Where stacks begin.
        picture.scrollTop = picture.scrollHeight;
        if (!(total[0] > 0)) picture.textContent = "Nothing happened in this time.";
        unzoom.hidden = !zoomed;
        legend.replaceChildren();
        Object.keys(kinds).sort().forEach(function (kind) {
            var item = document.createElement("span"), box = document.createElement("i");
            box.style.background = kinds[kind];
            item.append(box, kind);
            legend.append(item);
        });
        matched.textContent = term && total[0] > 0 ? "matched: " + percent(found(term)) : "";
    }
    function expression() {
        if (!search.value) return null;
        try { return new RegExp(search.value); } catch (_) { return new RegExp(search.value.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")); }
    }
    // What is in the outermost stacks that match: a stack in one that matches is counted already.
    function found(term) {
        var sum = 0, todo = [0];
        while (todo.length) (children[todo.pop()] || []).forEach(function (child) {
            if (term.test(name(child))) sum += total[child]; else todo.push(child);
        });
        return sum;
    }
    function stack_of(event) {
        var group = event.target.closest && event.target.closest("g[data-stack]");
        return group ? Number(group.getAttribute("data-stack")) : -1;
    }
    picture.addEventListener("click", function (event) {
        var stack = stack_of(event);
        if (stack >= 0) { zoomed = stack; draw(); }
    });
    picture.addEventListener("mouseover", function (event) {
        var stack = stack_of(event);
        details.textContent = stack >= 0 ? title(stack) : "\u00a0";
    });
    unzoom.addEventListener("click", function () { zoomed = 0; draw(); });
    search.addEventListener("input", draw);
    window.addEventListener("resize", draw);
    return show;
}
