package config

import (
	"math"
	"strconv"
	"strings"
	"time"
)

type unit struct {
	name  string
	bytes int64
}

// units lists the units of sizes, the largest binary ones first.
func units() []unit {
	return []unit{
		{"GiB", 1 << 30},
		{"MiB", 1 << 20},
		{"KiB", 1 << 10},
		{"GB", 1e9},
		{"MB", 1e6},
		{"KB", 1e3},
		{"kB", 1e3},
		{"B", 1},
	}
}

// ParseSize reads a size in bytes: a whole number with the unit B, KiB, MiB,
// GiB, KB, MB or GB, such as "16MiB". The error is a Fault.
func ParseSize(s string) (int64, error) {
	const remedy = `write a whole number with a unit (B, KiB, MiB, GiB, KB, MB, GB), such as "16MiB"`
	digits := strings.TrimRightFunc(s, func(c rune) bool { return c < '0' || c > '9' })
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil {
		return 0, fault(remedy, "%s is no size", clip(s))
	}
	for _, u := range units() {
		if strings.TrimPrefix(s[len(digits):], " ") != u.name {
			continue
		}
		if n > math.MaxInt64/uint64(u.bytes) { //nolint:gosec // Units are positive.
			return 0, fault(remedy, "%s is too large", clip(s))
		}
		return int64(n) * u.bytes, nil //nolint:gosec // Read as 63 bits.
	}
	return 0, fault(remedy, "%s has no known unit", clip(s))
}

// sizeText writes n the way ParseSize reads it.
func sizeText(n int64) string {
	for _, u := range units() {
		if n >= u.bytes && n%u.bytes == 0 {
			return strconv.FormatInt(n/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10) + "B"
}

// ParseMode reads permission bits as three or four octal digits, such as
// "0644". Setuid, setgid and sticky bits are refused. The error is a Fault.
func ParseMode(s string) (uint32, error) {
	const remedy = `write three or four octal digits such as "0644"`
	n, err := strconv.ParseUint(s, 8, 32)
	if err != nil || len(s) < 3 || len(s) > 4 {
		return 0, fault(remedy, "%s is no octal file mode", clip(s))
	}
	m := uint32(n)
	return m, permissions(&m)
}

// ParsePercent reads a share from 0 to 1, written as "0%" to "100%". The
// error is a Fault.
func ParsePercent(s string) (float64, error) {
	const remedy = `write a number from 0 to 100 with a percent sign, such as "50%"`
	number, ok := strings.CutSuffix(s, "%")
	// ParseFloat alone would let exponents, signs and NaN pass.
	plain := strings.Trim(number, "0123456789.") == ""
	p, err := strconv.ParseFloat(number, 64)
	if !ok || !plain || err != nil {
		return 0, fault(remedy, "%s is no percentage", clip(s))
	}
	if p > 100 {
		return 0, fault(remedy, "%s is more than all of the tree", clip(s))
	}
	return p / 100, nil
}

// ParseNumber reads a whole number, such as "1000" or "1_000". The error is a Fault.
func ParseNumber(s string) (int, error) {
	n, err := strconv.Atoi(strings.ReplaceAll(s, "_", ""))
	if err != nil {
		return 0, fault("write a number such as 3", "%s is no such number", clip(s))
	}
	return n, nil
}

// ParseDuration reads a duration with a unit, such as "50ms" or "2s"; "0" needs none.
func ParseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fault(`write a number with a unit (ms, s, m, h), such as "50ms" or "2s"`, "%s is no duration", clip(s))
	}
	return d, nil
}
