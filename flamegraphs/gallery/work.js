const zlib = require('zlib');
const rows = n => Array.from({length: n}, (_, i) => ({id: (i * 7919) % n, name: 'row ' + i, tags: ['a' + i % 7, 'b' + i % 11]}));
function sortRows(r) { return [...r].sort((a, b) => a.id - b.id || a.name.localeCompare(b.name)); }
function pack(text) { return zlib.deflateSync(text, {level: 6}); }
function roundTrip(r) { return JSON.parse(JSON.stringify(r)); }
const end = Date.now() + 8000;
let bytes = 0;
while (Date.now() < end) { const r = roundTrip(sortRows(rows(20000))); bytes += pack(JSON.stringify(r)).length; }
console.log(bytes);
