// SPDX-License-Identifier: Apache-2.0
#include "cause_cases.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <functional>
#include <sstream>
#include <utility>

namespace fallbackd::watcher {

namespace {

void replaceAll(std::string& text, std::string_view mark, const std::string& by) {
  for (auto at = text.find(mark); at != std::string::npos; at = text.find(mark, at + by.size())) {
    text.replace(at, mark.size(), by);
  }
}

std::string percent(std::string_view text, std::string_view kept) {
  std::string out;
  for (const char c : text) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0 || kept.find(c) != std::string_view::npos) {
      out.push_back(c);
    } else {
      constexpr std::string_view kDigits = "0123456789ABCDEF";
      const auto byte = static_cast<unsigned char>(c);
      out += {'%', kDigits[byte / 16], kDigits[byte % 16]};
    }
  }
  return out;
}

// Shorthands for the beginnings of most rows. Later shorthands contain earlier ones.
constexpr std::array kShorthands{
    std::pair{"{token}", R"({anon}Get "https://auth.example.com/token?scope=repository%3A{scope}%3Apull": )"},
    std::pair{"{anon}", "{resolve}failed to authorize: failed to fetch anonymous token: "},
    std::pair{"{oauth}", "{resolve}failed to authorize: failed to fetch oauth token: "},
    std::pair{"{head2}", R"({image}failed to do request: Head "{url}": )"},
    std::pair{"{head}", R"({resolve}failed to do request: Head "{url}": )"},
    std::pair{"{mirror}", R"(failed to do request: Head "http://127.0.0.1:5001{path}?ns={scopehost}": )"},
    std::pair{"{blob}", R"({copy}httpReadSeeker: failed open: failed to do request: Get "{bloburl}": )"},
    std::pair{"{open}", "{copy}httpReadSeeker: failed open: "},
    std::pair{"{resolve}", "{pull}failed to resolve reference {q}: "},
    std::pair{"{image}", "{pull}failed to resolve image: "},
    std::pair{"{extract}", "{pull}failed to extract layer sha256:00aa: "},
    std::pair{"{snapshot}", R"({pull}failed to prepare extraction snapshot "extract-1-x sha256:00aa": )"},
    std::pair{"{copy}", "{pull}failed to copy: "},
    std::pair{"{pull}", "failed to pull and unpack image {q}: "},
};

/// The text with its shorthands expanded; the marks remain.
std::string spelledOut(std::string text) {
  for (const auto& [name, meaning] : kShorthands) replaceAll(text, name, meaning);
  return text;
}

std::optional<Cause> parseExpected(const std::string& word) {
  if (word == "none") return std::nullopt;
  const auto cause = parseCause(word);
  if (!cause) {
    std::fprintf(stderr, "%s: no cause %s\n", FALLBACKD_CAUSE_CASES, word.c_str());
    std::abort();
  }
  return cause;
}

}  // namespace

std::vector<CauseCase> causeCases() {
  std::ifstream in(FALLBACKD_CAUSE_CASES);
  std::vector<CauseCase> all;
  std::string line;
  std::getline(in, line);  // the column headings
  while (std::getline(in, line)) {
    if (line.empty() || line.front() == '#') continue;
    std::vector<std::string> cells;
    std::istringstream cellsOf(line);
    for (std::string cell; std::getline(cellsOf, cell, '\t');) cells.push_back(cell);
    if (cells.size() != 5) {
      std::fprintf(stderr, "%s: not five cells: %s\n", FALLBACKD_CAUSE_CASES, line.c_str());
      std::abort();
    }
    replaceAll(cells[4], "\\n", "\n");
    all.push_back(
        {cells[0], cells[1], std::atoi(cells[2].c_str()), parseExpected(cells[3]), spelledOut(cells[4])});
  }
  return all;
}

std::string goQuoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '\n') {
      out += "\\n";
    } else if (c == '\t') {
      out += "\\t";
    } else {
      if (c == '"' || c == '\\') out.push_back('\\');
      out.push_back(c);
    }
  }
  return out + '"';
}

std::string expand(const std::string& text, const std::string& reference, Quotes quotes) {
  // containerd's reference.Parse splits like this.
  const auto slash = reference.find('/');
  const auto split = reference.find_first_of(":@", slash + 1);
  const auto host = reference.substr(0, slash);
  const auto repository = reference.substr(slash + 1, split - slash - 1);
  const auto object = split == std::string::npos ? std::string("latest") : reference.substr(split + 1);
  constexpr std::string_view kPath = "-_.~/:@$&+,;=";
  const auto path = [&] { return percent("/v2/" + repository + "/manifests/" + object, kPath); };
  const auto authority = [&] { return "https://" + percent(host, "-_.~:[]"); };

  const auto out = spelledOut(text);
  // One pass from the left: a mark inside a reference does not count. Only marks in the text are expanded.
  const std::array<std::pair<std::string_view, std::function<std::string()>>, 11> marks{{
      {"{q}", [&] { return quotes == Quotes::escaped ? goQuoted(reference) : '"' + reference + '"'; }},
      {"{ref}", [&] { return reference; }},
      {"{host}", [&] { return host; }},
      {"{object}", [&] { return object; }},
      {"{path}", path},
      {"{scope}", [&] { return percent(repository, "-_.~"); }},
      {"{scopehost}", [&] { return percent(host, "-_.~"); }},
      {"{url}", [&] { return authority() + path(); }},
      {"{bloburl}", [&] { return authority() + percent("/v2/" + repository, kPath) + "/blobs/sha256:00aa"; }},
      {"{rawurl}", [&] { return "https://" + host + "/v2/" + repository + "/manifests/" + object; }},
      {"{rawblob}", [&] { return "https://" + host + "/v2/" + repository + "/blobs/sha256:00aa"; }},
  }};
  std::string done;
  std::size_t at = 0;
  for (auto mark = out.find('{'); mark != std::string::npos; mark = out.find('{', at)) {
    done.append(out, at, mark - at);
    at = mark;
    const auto found = std::find_if(marks.begin(), marks.end(), [&](const auto& one) {
      return out.compare(mark, one.first.size(), one.first) == 0;
    });
    if (found == marks.end()) {
      done.push_back(out[at++]);
    } else {
      done += found->second();
      at += found->first.size();
    }
  }
  return done.append(out, at);
}

std::optional<Cause> causeOf(const CauseCase& row, const std::string& reference, Quotes quotes) {
  return classify({cri::PullOutcome::Kind::failed, row.code, expand(row.text, reference, quotes)}, reference);
}

std::string nameOf(std::optional<Cause> cause) {
  return cause ? std::string(toString(*cause)) : "none";
}

}  // namespace fallbackd::watcher
