//go:build faults

package faults

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"
	"time"
)

// write writes docs/faults.md.
func (rs *Results) write(name string) error {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	all, err := rs.newest()
	if err != nil {
		return err
	}
	order := map[string]int{"model/" + modelName: 1 << 30}
	for gi, g := range groups() {
		for ci, c := range g.Cases {
			order[g.Name+"/"+c.Name] = gi*1000 + ci
		}
	}
	slices.SortStableFunc(all, func(a, b *Result) int {
		if d := order[a.Group+"/"+a.Name] - order[b.Group+"/"+b.Name]; d != 0 {
			return d
		}
		return strings.Compare(a.Mode, b.Mode)
	})
	var b bytes.Buffer
	summary(&b, all)
	for _, g := range append(groups(), Group{Name: "model"}) {
		group(&b, g.Name, all)
	}
	return os.WriteFile(name, b.Bytes(), 0o644)
}

func summary(b *bytes.Buffer, all []*Result) {
	fmt.Fprintf(b, "# Faults\n\nWritten by `make faults` on %s (%s, %d processors). Do not edit. Each row is the newest trial of a case: %s.\n\n",
		time.Now().UTC().Format("2006-01-02"), runtime.Version(), runtime.NumCPU(), origins(all))
	tried, failed := 0, 0
	wrong, counts := make(map[string]int), make(map[string]int)
	var skipped []*Result
	for _, r := range all {
		if r.Skipped != "" {
			skipped = append(skipped, r)
			continue
		}
		tried++
		if r.Failed {
			failed++
		}
		for what, n := range r.Counts {
			counts[what] += n
		}
		for letter, right := range r.Checks {
			if !right {
				wrong[letter]++
			}
		}
	}
	fmt.Fprintf(b, "%d trials (a case in a mode), %d failed. Lost: %d, torn: %d, leaks: %d.\n\nDone to it in all: ",
		tried, failed, wrong["c"]+wrong["d"], wrong["a"]+wrong["b"], wrong["g"])
	var words []string
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		words = append(words, fmt.Sprintf("%d %s", counts[what], what))
	}
	fmt.Fprintf(b, "%s.\n\n", strings.Join(words, ", "))
	b.WriteString(checksExplained)
	if len(skipped) > 0 {
		b.WriteString("## Not tried\n\n")
		for _, r := range skipped {
			fmt.Fprintf(b, "- %s/%s (%s): %s\n", r.Group, r.Name, r.Mode, r.Skipped)
		}
		b.WriteString("\n")
	}
}

// origins tells which program the trials were of, and their seeds.
func origins(all []*Result) string {
	counts := make(map[string]int)
	for _, r := range all {
		if r.Skipped == "" {
			counts[fmt.Sprintf("of commit %s with seed %d", r.Commit, r.Seed)]++
		}
	}
	var words []string
	for _, origin := range slices.Sorted(maps.Keys(counts)) {
		words = append(words, fmt.Sprintf("%d %s", counts[origin], origin))
	}
	return strings.Join(words, ", ")
}

const checksExplained = `| check | what |
|---|---|
| a | every managed path is exactly an old or exactly a new version, mode and owner too, at every instant |
| b | the journal never runs ahead of the disk, its generation never falls |
| c | nothing acknowledged is lost; the target equals the source in the end |
| d | nothing outside the target changed; no leftovers; nothing deleted that nobody deleted |
| e | it converges within 20 s after healing, or what the case says, unattended |
| f | errors name path, cause and remedy; no content in any log |
| g | no descriptor or watch leaks |

`

func group(b *bytes.Buffer, group string, all []*Result) {
	var rows []*Result
	for _, r := range all {
		if r.Group == group && r.Skipped == "" {
			rows = append(rows, r)
		}
	}
	if len(rows) == 0 {
		return
	}
	fmt.Fprintf(b, "## %s\n\n| case | mode | how | done | checked | equal after | |\n|---|---|---|---|---|---|---|\n", group)
	for _, r := range rows {
		outcome := "ok"
		if r.Failed {
			outcome = "**FAILED**"
		}
		var done []string
		for _, what := range slices.Sorted(maps.Keys(r.Counts)) {
			done = append(done, fmt.Sprintf("%d %s", r.Counts[what], what))
		}
		how := r.How
		for _, n := range r.Notes {
			how += " *" + n + "*"
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s | %.2f s | %s |\n", cell(r.Name), r.Mode, cell(how), strings.Join(done, ", "), r.letters(), r.Converged.Seconds(), outcome)
	}
	b.WriteString("\n")
}

// cell is text that fits into a table.
func cell(text string) string {
	return strings.NewReplacer("|", "\\|", "\n", " ").Replace(text)
}
