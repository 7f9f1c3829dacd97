//go:build bench

package bench

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// write writes the document and what is to be drawn, where the flags ask for them.
func write() error {
	all, err := newest()
	if err != nil {
		return err
	}
	if *plotsFlag != "" {
		if err := writePlots(*plotsFlag, all); err != nil {
			return err
		}
	}
	if *docFlag == "" {
		return nil
	}
	var b bytes.Buffer
	head(&b, all)
	targets(&b, all)
	profiles(&b, all)
	drawn(&b, all)
	measured(&b, all)
	return os.WriteFile(*docFlag, b.Bytes(), 0o644)
}

func head(b *bytes.Buffer, all map[string]*Result) {
	var took time.Duration
	commits := make(map[string]int)
	for _, r := range all {
		commits[r.Commit]++
		took += r.Took
	}
	fmt.Fprintf(b, "# Benchmarks\n\nWritten by `make bench` on %s. Do not edit. ", time.Now().UTC().Format("2006-01-02"))
	if len(commits) == 1 {
		for c := range commits {
			fmt.Fprintf(b, "All of commit %s.\n\n", c)
		}
	} else {
		var of []string
		for _, c := range slices.Sorted(maps.Keys(commits)) {
			of = append(of, fmt.Sprintf("%d figures of commit %s", commits[c], c))
		}
		fmt.Fprintf(b, "%s.\n\n", strings.Join(of, ", "))
	}
	fmt.Fprintf(b, "Machine: %s.\n\n", machine())
	b.WriteString(reading)
}

// reading tells how the tables are to be read.
const reading = `A **floor** is what the machine takes for the same work without confsyncd: bare system calls, a
bare etcd client, another tool; measured in the same minutes, in turn with ours. Figures are medians, unless their name says otherwise;
behind them the quartiles and how often it was measured. confsyncd is the binary that packages ship, in processes of its
own; etcd is one member in a process of its own. Everything is on one disk and synced, as always; a row says so if it is a tmpfs.

`

func targets(b *bytes.Buffer, all map[string]*Result) {
	held, missed := 0, 0
	var rows bytes.Buffer
	for _, f := range figures() {
		r := all[f.Name]
		if r == nil {
			continue
		}
		for _, row := range r.Rows {
			if row.Bound == 0 {
				continue
			}
			outcome := "held"
			if row.Held() {
				held++
			} else {
				missed++
				outcome = "**not held**"
			}
			fmt.Fprintf(&rows, "| %s | %s | %s | %s | %s | %s | %s |\n", cell(row.What), cell(row.Target), quantity(row.Value, row.Unit), floor(row), ratio(row), quantity(row.Bound, row.Unit), outcome)
		}
	}
	fmt.Fprintf(b, "## Targets\n\n%d held, %d not held.\n\n| what | target | figure | floor | ratio | allowed | |\n|---|---|---|---|---|---|---|\n%s\n", held, missed, rows.String())
}

// profiles tells where the time goes of what does not hold its target.
func profiles(b *bytes.Buffer, all map[string]*Result) {
	var text bytes.Buffer
	for _, f := range figures() {
		r := all[f.Name]
		if r == nil || !slices.ContainsFunc(r.Rows, func(row Row) bool { return row.Bound > 0 && !row.Held() }) {
			continue
		}
		fmt.Fprintf(&text, "- **%s**: %s\n", f.Name, f.Profile)
	}
	if text.Len() > 0 {
		fmt.Fprintf(b, "## Where the time goes of what is not held\n\n%s\n", text.String())
	}
}

func measured(b *bytes.Buffer, all map[string]*Result) {
	b.WriteString("## What was measured, and how\n\n")
	for _, f := range figures() {
		r := all[f.Name]
		if r == nil {
			continue
		}
		fmt.Fprintf(b, "### %s\n\n%s\n\n", f.Name, f.How)
		switch {
		case r.Failed:
			b.WriteString("**It failed: what follows is what was measured until then.**\n\n")
		case r.Skipped:
			b.WriteString("Left out:\n\n")
		}
		for _, n := range r.Notes {
			fmt.Fprintf(b, "- %s\n", n)
		}
		if len(r.Notes) > 0 {
			b.WriteString("\n")
		}
		if len(r.Rows) == 0 {
			continue
		}
		b.WriteString("| what | figure | quartiles | floor | ratio | |\n|---|---|---|---|---|---|\n")
		for _, row := range r.Rows {
			fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %s |\n", cell(row.What), quantity(row.Value, row.Unit), row.Spread, floor(row), ratio(row), cell(row.Note))
		}
		b.WriteString("\n")
	}
}

func quantity(v float64, unit string) string {
	return strings.TrimSpace(figure(v) + " " + unit)
}

func floor(r Row) string {
	if r.Floor == 0 {
		return cell(r.FloorIs)
	}
	return strings.TrimSpace(quantity(r.Floor, r.Unit) + " " + cell(r.FloorIs))
}

func ratio(r Row) string {
	if r.Floor == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", r.Value/r.Floor)
}

// cell is text that fits into a table.
func cell(text string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ").Replace(text)
}

// machine tells what it was measured on.
func machine() string {
	var uts unix.Utsname
	_ = unix.Uname(&uts) // Linux always answers.
	model := "unknown processor"
	if b, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(b)) {
			if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
				model = strings.TrimSpace(value)
				break
			}
		}
	}
	var info unix.Sysinfo_t
	_ = unix.Sysinfo(&info) // Likewise.
	kind := "unknown file system"
	if out, err := exec.Command("stat", "-f", "-c", "%T", os.TempDir()).Output(); err == nil {
		kind = strings.TrimSpace(string(out))
	}
	etcd := "etcd"
	if out, err := exec.Command(*etcdFlag, "--version").Output(); err == nil {
		etcd, _, _ = strings.Cut(string(out), "\n")
		etcd = strings.Replace(etcd, " Version: ", " ", 1)
	}
	return fmt.Sprintf("%s, %d processors, %d GiB of memory; Linux %s; %s; %s; %s", model, runtime.NumCPU(),
		(info.Totalram*uint64(info.Unit))>>30, unix.ByteSliceToString(uts.Release[:]), kind, etcd, runtime.Version())
}
