// SPDX-License-Identifier: Apache-2.0
// The table of docs/causes.md is complete: every text that the parser knows has a row in causes.tsv, every
// row is on the page, and the page states the parser's result for each row.
#include "cause_cases.hpp"
#include "watcher/causes/texts.hpp"

#include <algorithm>
#include <array>
#include <fstream>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

namespace fallbackd::watcher {
namespace {

struct PageRow {
  std::vector<std::string> texts;  // as quoted in the second column
  std::string cause;
  std::vector<std::string> names;  // of rows in causes.tsv
  std::string line;
};

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(' ');
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(' ') - first + 1);
}

std::vector<std::string> splitBy(const std::string& text, const std::string& mark) {
  std::vector<std::string> parts;
  std::size_t at = 0;
  for (auto next = text.find(mark); next != std::string::npos; next = text.find(mark, at)) {
    parts.push_back(trimmed(text.substr(at, next - at)));
    at = next + mark.size();
  }
  parts.push_back(trimmed(text.substr(at)));
  return parts;
}

std::vector<std::string> quotedIn(const std::string& cell) {
  const auto parts = splitBy(cell, "`");
  std::vector<std::string> quoted;
  for (std::size_t i = 1; i < parts.size(); i += 2) quoted.push_back(parts[i]);
  return quoted;
}

std::vector<PageRow> pageRows() {
  std::ifstream page(FALLBACKD_CAUSES_PAGE);
  std::vector<PageRow> rows;
  bool inTable = false;
  for (std::string line; std::getline(page, line);) {
    if (line.starts_with("## ")) inTable = line == "## Covered texts";
    if (!inTable || !line.starts_with("| ") || line.starts_with("| package ") || line.starts_with("| ---"))
      continue;
    const auto cells = splitBy(line.substr(1, line.rfind('|') - 1), " | ");
    EXPECT_EQ(cells.size(), 4U) << line;
    if (cells.size() == 4) rows.push_back({quotedIn(cells[1]), cells[2], splitBy(cells[3], ", "), line});
  }
  return rows;
}

/// The parts between the placeholders: "lookup NAME on SERVER: ..." gives "lookup", "on", ":".
std::vector<std::string> fixedParts(const std::string& text) {
  static const std::set<std::string> kChanging{"NAME", "SERVER",    "OPERATION", "METHOD", "\"URL\"", "URL",
                                               "N",    "H",         "CODE",      "D",      "R",       "T",
                                               "V",    "REFERENCE", "/PATH",     "...",    "[...]"};
  std::vector<std::string> parts{""};
  for (const auto& word : splitBy(text, " ")) {
    const auto bare = word.ends_with(':') ? word.substr(0, word.size() - 1) : word;
    if (kChanging.contains(bare) || kChanging.contains(word)) {
      parts.emplace_back();
    } else {
      parts.back() += (parts.back().empty() ? "" : " ") + word;
    }
  }
  std::erase(parts, "");
  return parts;
}

bool holds(const std::string& text, const std::vector<std::string>& parts) {
  return std::all_of(parts.begin(), parts.end(),
                     [&](const auto& part) { return text.find(part) != std::string::npos; });
}

TEST(CausesPage, ShowsTheParsersResultForEachRow) {
  std::map<std::string, CauseCase> cases;
  for (const auto& one : causeCases()) cases.emplace(one.name, one);
  const auto rows = pageRows();
  ASSERT_GT(rows.size(), 60U);
  std::set<std::string> named;
  for (const auto& row : rows) {
    std::vector<std::string> written;
    for (const auto& name : row.names) {
      EXPECT_TRUE(named.insert(name).second) << name << " occurs twice";
      const auto found = cases.find(name);
      ASSERT_NE(found, cases.end()) << "no row " << name << " in causes.tsv: " << row.line;
      EXPECT_EQ(nameOf(causeOf(found->second, "r.example.com/shop/a:1")), row.cause) << name;
      written.push_back(found->second.text);
    }
    for (const auto& text : row.texts) {
      const auto parts = fixedParts(text);
      EXPECT_TRUE(
          std::any_of(written.begin(), written.end(), [&](const auto& one) { return holds(one, parts); }))
          << "no row named here has the text " << text << ": " << row.line;
    }
  }
  for (const auto& [name, one] : cases) EXPECT_TRUE(named.contains(name)) << name << " is not on the page";
}

TEST(CausesPage, EveryTextOfTheParserHasARow) {
  std::vector<std::string> written;
  for (const auto& one : causeCases()) written.push_back(one.text);
  const auto expectRow = [&](std::string_view words) {
    EXPECT_TRUE(std::any_of(written.begin(), written.end(), [&](const auto& one) {
      return one.find(words) != std::string::npos;
    })) << words;
  };
  for (const auto table : {containerdWrappers(), libraryWrappers()}) {
    for (const auto& one : table) expectRow(one.words);
  }
  for (const auto table : {containerdEndings(), libraryEndings()}) {
    for (const auto& one : table) expectRow(one.words);
  }
}

}  // namespace
}  // namespace fallbackd::watcher
