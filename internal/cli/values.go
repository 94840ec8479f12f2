package cli

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"unicode"

	"github.com/alecthomas/kong"
	"gopkg.in/yaml.v3"
)

// decimalNumbers makes kong read whole numbers as people write them: 012 is refused, and not taken
// for the octal number 10.
var decimalNumbers = []kong.Option{
	kong.KindMapper(reflect.Int, kong.MapperFunc(decodeDecimal)),
	kong.KindMapper(reflect.Int64, kong.MapperFunc(decodeDecimal)),
}

func decodeDecimal(ctx *kong.DecodeContext, target reflect.Value) error {
	if target.Type() != reflect.TypeOf(int64(0)) && target.Type() != reflect.TypeOf(0) {
		return fmt.Errorf("%s is no number", target.Type()) // a duration has a mapper of its own
	}
	token, err := ctx.Scan.PopValue("int")
	if err != nil {
		return err
	}
	text := fmt.Sprint(token.Value)
	if octalNumber.MatchString(text) {
		return fmt.Errorf("%q begins with 0: write the number without it", text)
	}
	n, err := strconv.ParseInt(text, 10, target.Type().Bits())
	if err != nil {
		return fmt.Errorf("expected a whole number but got %q", text)
	}
	target.SetInt(n)
	return nil
}

// octalNumber is a number that some languages read as octal.
var octalNumber = regexp.MustCompile(`^[+-]?0[0-9_]+$`)

// checkNumbers refuses numbers in a YAML file that YAML reads as octal, such as 012.
func checkNumbers(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode && node.Tag == "!!int" && octalNumber.MatchString(node.Value) {
		return fmt.Errorf("line %d: %q begins with 0: write the number without it", node.Line, node.Value)
	}
	for _, child := range node.Content {
		if err := checkNumbers(child); err != nil {
			return err
		}
	}
	return nil
}

// holdsControl tells whether a value holds a line break or another control character, which no
// setting needs. A line break at the end is what is left of a file, and would be a part of a token.
func holdsControl(value string) bool { return strings.ContainsFunc(value, unicode.IsControl) }
