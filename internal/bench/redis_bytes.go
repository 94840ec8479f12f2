package main

import (
	"bufio"
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// redisBytes returns how many bytes a Redis has received and sent since it started.
func redisBytes(ctx context.Context, url string) (sum float64, err error) {
	opts, err := redis.ParseURL(url)
	if err != nil {
		return 0, fmt.Errorf("redis: %w", err)
	}
	client := redis.NewClient(opts)
	defer client.Close()
	info, err := client.Info(ctx, "stats").Result()
	if err != nil {
		return 0, fmt.Errorf("redis: %w", err)
	}
	for lines := bufio.NewScanner(strings.NewReader(info)); lines.Scan(); {
		name, value, _ := strings.Cut(lines.Text(), ":")
		if name == "total_net_input_bytes" || name == "total_net_output_bytes" {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0, fmt.Errorf("redis: %s: %w", name, err)
			}
			sum += n
		}
	}
	return sum, nil
}
