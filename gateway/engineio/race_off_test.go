//go:build !race

package engineio

const raced = false
