// Package diff holds the words that every other room speaks: entries, trees,
// changes, path rules and the tree digest. It is pure: it reads no file, knows no
// clock, and imports the standard library only.
//
// A Tree is immutable. Comparing two trees and applying changes to one cost what
// differs, not what there is: directories that did not change are shared between
// trees and recognised by their digest.
//
// Paths are slash-separated bytes in a string: relative, and not necessarily
// UTF-8. They are ordered by component (see ComparePaths), so that a directory is
// directly followed by everything below it.
package diff
