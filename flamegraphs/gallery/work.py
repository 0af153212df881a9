import hashlib, json, re, time
WORDS = re.compile(r'\b([a-z]+)(\d+)\b')
def rows(n): return [{'id': i * 7919 % n, 'name': f'row {i}', 'text': ' '.join(f'word{i + k}' for k in range(8))} for i in range(n)]
def round_trip(data): return json.loads(json.dumps(data))
def digests(data): return [hashlib.sha256(row['text'].encode()).hexdigest() for row in data]
def words(data): return sum(len(WORDS.findall(row['text'])) for row in data)
def main():
    end, total = time.time() + 8, 0
    while time.time() < end:
        data = round_trip(rows(5000))
        total += len(digests(data)) + words(data)
    print(total)
main()
