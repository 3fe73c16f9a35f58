package relay

import (
	"math"
	"strconv"
	"unsafe"
)

// powersOfTen are those that a float64 holds exactly and plainNumber needs.
var powersOfTen = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// plainNumber reads the digits at the beginning of the text, with a point or
// without, and returns their value and how many bytes they are: 0 when there
// are none, or too many to be read so. Up to 15 digits and a power of ten up to
// 15 are exact numbers, and the quotient of two is rounded correctly, so the
// value is what strconv.ParseFloat gives.
func plainNumber(text []byte) (value float64, n int) {
	digits, point := uint64(0), -1
	for n < len(text) {
		c := text[n]
		if d := c - '0'; d <= 9 {
			digits = digits*10 + uint64(d)
		} else if c == '.' && point < 0 {
			point = n
		} else {
			break
		}
		if n++; n > 16 {
			return 0, 0
		}
	}
	if point < 0 {
		if n > 15 {
			return 0, 0
		}
		return float64(digits), n
	}
	if n == 1 || n > 16 { // a point alone
		return 0, 0
	}
	return float64(digits) / powersOfTen[n-1-point], n
}

// number reads a finite decimal number.
func number(text []byte) (float64, bool) {
	if v, n := plainNumber(text); n > 0 && n == len(text) {
		return v, true
	}
	if len(text) == 0 || len(text) > 64 || !decimal(text) {
		return 0, false
	}
	// The string lives no longer than the call, and text doesn't change in it.
	v, err := strconv.ParseFloat(unsafe.String(&text[0], len(text)), 64)
	return v, err == nil && !math.IsInf(v, 0)
}

// decimal keeps out what ParseFloat takes and statsd does not know:
// hexadecimal, underscores, NaN and Inf.
func decimal(text []byte) bool {
	for _, c := range text {
		if (c < '0' || c > '9') && c != '.' && c != '-' && c != '+' && c != 'e' && c != 'E' {
			return false
		}
	}
	return true
}
