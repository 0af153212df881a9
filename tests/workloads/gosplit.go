// gosplit SECONDS: spins in main.innermost, which is inlined into main.middle, and that into main.outerReal.
package main

import (
	"os"
	"strconv"
	"time"
)

var sink uint64

func innermost(steps uint64) {
	for step := uint64(0); step < steps; step++ {
		sink += step
	}
}

func middle(steps uint64) {
	innermost(steps)
	innermost(steps / 2)
}

//go:noinline
func outerReal(steps uint64) {
	middle(steps)
}

func main() {
	seconds, err := strconv.ParseFloat(os.Args[1], 64)
	if err != nil {
		panic(err)
	}
	end := time.Now().Add(time.Duration(seconds * float64(time.Second)))
	for time.Now().Before(end) {
		outerReal(200000)
	}
}
