//go:build race

package throttle

const raced = true
