package lab_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/confsyncd/confsyncd/internal/lab"
)

// clocked prints the time, waits for hours, and prints how long that took.
const clocked = `package main

import (
	"fmt"
	"time"
)

func main() {
	begin := time.Now()
	passed := time.After(3 * time.Hour)
	fmt.Println("began", begin.Unix())
	<-passed
	fmt.Println("waited", time.Since(begin).Round(time.Hour), "until", time.Now().Unix())
}
`

func TestClock(t *testing.T) {
	if testing.Short() {
		t.Skip("builds Go's standard library anew")
	}
	dir := t.TempDir()
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte(clocked), 0o600); err != nil {
		t.Fatal(err)
	}
	program, err := lab.BuildClocked(dir, "", source)
	if err != nil {
		t.Skip(err)
	}
	const years = 10 * 365 * 24 * time.Hour
	c, begin := lab.NewClock(t), time.Now()
	c.Set(-years)
	p, err := lab.Start(filepath.Join(dir, "log"), c.Env(), program)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = p.Kill() }()
	near := func(line string, want time.Time) {
		t.Helper()
		fields := strings.Fields(line)
		unix, err := strconv.ParseInt(fields[len(fields)-1], 10, 64)
		if err != nil || time.Unix(unix, 0).Sub(want).Abs() > time.Minute {
			t.Fatalf("%q, not %d", line, want.Unix())
		}
	}
	near(lab.Logged(t, p.Log, time.Minute, "began"), begin.Add(-years))
	c.Set(years)
	if err := p.Pause(); err != nil {
		t.Fatal(err)
	}
	c.Sleep(5 * time.Hour)
	if err := p.Resume(); err != nil {
		t.Fatal(err)
	}
	near(lab.Logged(t, p.Log, time.Minute, "waited", "5h0m0s"), begin.Add(years+5*time.Hour))
}
