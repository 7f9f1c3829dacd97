package config

import (
	"fmt"
	"strconv"
	"strings"
)

// maxName bounds, in bytes, the names that are compared with known keys.
const maxName = 64

// unknownRemedy says what to do about a key that the section at does not know.
func unknownRemedy(at, name string, known []key) string {
	if home := homeOf(name); home != "" {
		return "move it " + home
	}
	if strings.Contains(strings.ToLower(name), "pass") {
		return "write the password alone into a file that only the service can read, and its path into [etcd]: " +
			`password_file = "/etc/confsyncd/password"`
	}
	if near := nearest(name, known); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	names := make([]string, len(known))
	for i, k := range known {
		names[i] = k.name
	}
	where := "at the top of the file"
	if at != "" {
		where = "in " + at
	}
	return fmt.Sprintf("remove it; known %s: %s", where, strings.Join(names, ", "))
}

// homeOf says where a key belongs that is known in another section.
func homeOf(name string) string {
	var homes []string
	for _, k := range Default().keys() {
		if k.inside == nil {
			if k.name == name {
				return "to the top of the file, above the first table"
			}
			continue
		}
		for _, inner := range k.inside() {
			if inner.name != name {
				continue
			}
			header := "[" + k.name + "]"
			if k.many {
				header = "[" + header + "]"
			}
			homes = append(homes, header)
		}
	}
	if len(homes) == 0 {
		return ""
	}
	return "below " + strings.Join(homes, " or ")
}

// nearest returns the known key that name was probably meant to be, or "".
func nearest(name string, known []key) string {
	name = strings.ToLower(strings.ReplaceAll(name, "-", "_"))
	if len(name) > maxName {
		return ""
	}
	best, bestCost := "", len(name)/3+2
	for _, k := range known {
		cost := distance(name, k.name)
		if len(name) > 2 && strings.HasPrefix(k.name, name) {
			cost = 1
		}
		if cost < bestCost {
			best, bestCost = k.name, cost
		}
	}
	return best
}

// distance is the Levenshtein distance of a and b in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}

// secret tells whether what a key or line names is not to be shown.
func secret(name string) bool {
	name = strings.ToLower(name)
	for _, word := range []string{"pass", "secret", "token"} {
		if strings.Contains(name, word) {
			return true
		}
	}
	return false
}

// clip quotes s for a message, and shortens it.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return strconv.Quote(s[:most]) + "..."
	}
	return strconv.Quote(s)
}
