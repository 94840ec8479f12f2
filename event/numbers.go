package event

import "strconv"

// JSON has one kind of number: 2, 2.0 and 2e0 are the same, and clients whose language has only
// floating point, such as Godot's, write all three. Go reads whole numbers from digits alone, so
// the others are rewritten before a payload is read.

// maxNumber is how many bytes a number may have to be rewritten.
const maxNumber = 64

// rewriteWholeNumbers returns JSON with every whole number that has a fraction or an exponent
// written in digits. It returns b itself when there is none. What is no JSON stays as it is.
func rewriteWholeNumbers(b []byte) []byte {
	var out []byte
	copied := 0 // up to here b is in out
	for i := 0; i < len(b); {
		switch c := b[i]; {
		case c == '"':
			i = endOfString(b, i)
			continue
		case c != '-' && (c < '0' || c > '9'):
			i++
			continue
		}
		end, isPlain := endOfNumber(b, i)
		if !isPlain && end-i <= maxNumber {
			if digits, ok := wholeDigits(string(b[i:end])); ok {
				out = append(append(out, b[copied:i]...), digits...)
				copied = end
			}
		}
		i = end
	}
	if copied == 0 {
		return b
	}
	return append(out, b[copied:]...)
}

// endOfString returns the index behind the string that begins at index i.
func endOfString(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}

// endOfNumber returns the index behind the number that begins at index i, and whether it has
// neither a fraction nor an exponent.
func endOfNumber(b []byte, i int) (end int, isPlain bool) {
	isPlain = true
	for end = i + 1; end < len(b); end++ {
		switch c := b[end]; {
		case c == '.', c == 'e', c == 'E', c == '+', c == '-':
			isPlain = false
		case c < '0' || c > '9':
			return end, isPlain
		}
	}
	return end, isPlain
}

// wholeDigits returns the digits of a number that is whole and fits an int64; else ok is false.
func wholeDigits(number string) (digits string, ok bool) {
	sign, digits, point, ok := splitNumber(number)
	if !ok {
		return "", false
	}
	for len(digits) > 0 && digits[0] == '0' {
		digits, point = digits[1:], point-1
	}
	for len(digits) > 0 && digits[len(digits)-1] == '0' {
		digits = digits[:len(digits)-1]
	}
	switch {
	case digits == "":
		return "0", true
	case point < len(digits) || point > 19:
		return "", false
	}
	for len(digits) < point {
		digits += "0"
	}
	_, err := strconv.ParseInt(sign+digits, 10, 64)
	return sign + digits, err == nil
}

// splitNumber returns the sign and the digits of a number in JSON, and how many of the digits stand
// before its decimal point.
func splitNumber(number string) (sign, digits string, point int, ok bool) {
	i := 0
	takeDigits := func() string {
		from := i
		for i < len(number) && number[i] >= '0' && number[i] <= '9' {
			i++
		}
		return number[from:i]
	}
	if number[0] == '-' {
		sign, i = "-", 1
	}
	whole := takeDigits()
	if whole == "" || whole[0] == '0' && len(whole) > 1 {
		return "", "", 0, false
	}
	digits, point = whole, len(whole)
	if i < len(number) && number[i] == '.' {
		i++
		fraction := takeDigits()
		if fraction == "" {
			return "", "", 0, false
		}
		digits += fraction
	}
	if i < len(number) && (number[i] == 'e' || number[i] == 'E') {
		exponent, err := strconv.Atoi(number[i+1:])
		if err != nil || exponent > 1000 || exponent < -1000 {
			return "", "", 0, false
		}
		point, i = point+exponent, len(number)
	}
	return sign, digits, point, i == len(number)
}
