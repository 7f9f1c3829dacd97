package config

import (
	"testing"
)

func TestParseSize(t *testing.T) {
	for in, want := range map[string]int64{
		"512B": 512, "64KiB": 64 << 10, "16MiB": 16 << 20, "1GiB": 1 << 30,
		"10MB": 10e6, "3KB": 3e3, "2GB": 2e9, "16 MiB": 16 << 20, "0B": 0,
	} {
		if got, err := ParseSize(in); err != nil || got != want {
			t.Errorf("ParseSize(%q) = %d, %v; want %d", in, got, err, want)
		}
	}
	for _, in := range []string{"", "16", "MiB", "-1B", "1.5MiB", "16mib", "1e3B", "9223372036854775807KiB", "1 B B"} {
		if got, err := ParseSize(in); err == nil {
			t.Errorf("ParseSize(%q) = %d, want an error", in, got)
		}
	}
}

func TestSizeTextIsReadBack(t *testing.T) {
	for _, n := range []int64{0, 1, 512, 1000, 1024, 1 << 20, 64 << 20, 12345} {
		if got, err := ParseSize(sizeText(n)); err != nil || got != n {
			t.Errorf("%d becomes %q, then %d (%v)", n, sizeText(n), got, err)
		}
	}
}

func TestParseMode(t *testing.T) {
	for in, want := range map[string]uint32{"0644": 0o644, "755": 0o755, "0000": 0} {
		if got, err := ParseMode(in); err != nil || got != want {
			t.Errorf("ParseMode(%q) = %#o, %v; want %#o", in, got, err, want)
		}
	}
	for _, in := range []string{"", "4755", "2755", "1777", "0888", "64", "00644", "0o644", "-644"} {
		if got, err := ParseMode(in); err == nil {
			t.Errorf("ParseMode(%q) = %#o, want an error", in, got)
		}
	}
}

func TestParsePercent(t *testing.T) {
	for in, want := range map[string]float64{"50%": 0.5, "0%": 0, "100%": 1, "12.5%": 0.125} {
		if got, err := ParsePercent(in); err != nil || got != want {
			t.Errorf("ParsePercent(%q) = %g, %v; want %g", in, got, err, want)
		}
	}
	for _, in := range []string{"", "50", "%", "101%", "-1%", "NaN%", "1e1%", "0x1%", "5 %", "1.2.3%"} {
		if got, err := ParsePercent(in); err == nil {
			t.Errorf("ParsePercent(%q) = %g, want an error", in, got)
		}
	}
}

func TestLiteralHead(t *testing.T) {
	for in, want := range map[string]string{
		"nginx/**": "nginx/", `a\[b/*`: "a[b/", "{a,b}": "", "plain": "plain", `a\`: "a", "a?": "a",
	} {
		if got := literalHead(in); got != want {
			t.Errorf("literalHead(%q) = %q, want %q", in, got, want)
		}
	}
}
