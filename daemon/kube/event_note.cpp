// SPDX-License-Identifier: Apache-2.0
#include "kube/event_note.hpp"

#include "base/strings.hpp"

#include <array>
#include <charconv>
#include <cstddef>

#include <boost/json.hpp>

namespace fallbackd::kube {

namespace json = boost::json;

namespace {

constexpr std::string_view kCut = "...";
constexpr std::string_view kHidden = "***";
constexpr std::size_t kMaxName = 253;

/// C0, DEL, and C1, which is two bytes long.
bool isControl(std::string_view sequence) {
  const auto first = static_cast<unsigned char>(sequence[0]);
  if (sequence.size() == 1) return first < 0x20 || first == 0x7f;
  return sequence.size() == 2 && first == 0xc2 && static_cast<unsigned char>(sequence[1]) < 0xa0;
}

/// Control characters as spaces, and bytes that are not UTF-8 as question marks.
std::string printable(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const auto length = utf8Length(text);
    const auto sequence = text.substr(0, length == 0 ? 1 : length);
    if (length == 0) {
      out.push_back('?');
    } else if (isControl(sequence)) {
      out.push_back(' ');
    } else {
      out.append(sequence);
    }
    text.remove_prefix(sequence.size());
  }
  return out;
}

bool endsUrl(char c) {
  return c == ' ' || c == '"' || c == '\'' || c == '<' || c == '>' || c == '`' || c == '\\';
}

/// https://USER:PASSWORD@HOST/PATH?QUERY: the user, the password and the query may be secrets. Registries
/// redirect to storage with a signature in the query.
std::string withoutUrlSecrets(std::string_view text) {
  constexpr std::string_view kScheme = "://";
  std::string out;
  for (auto at = text.find(kScheme); at != std::string_view::npos; at = text.find(kScheme)) {
    out.append(text.substr(0, at + kScheme.size()));
    text.remove_prefix(at + kScheme.size());
    std::size_t end = 0;
    while (end < text.size() && !endsUrl(text[end])) ++end;
    auto url = text.substr(0, end);
    text.remove_prefix(end);
    const auto authority = url.substr(0, url.find_first_of("/?#"));
    if (const auto user = authority.rfind('@'); user != std::string_view::npos) {
      out.append(kHidden).push_back('@');
      url.remove_prefix(user + 1);
    }
    const auto query = url.find_first_of("?#");
    out.append(url.substr(0, query));
    if (query == std::string_view::npos) continue;
    out.append("?").append(kHidden);
    if (url.ends_with(':')) out.push_back(':');
  }
  return out.append(text);
}

bool isLetterOrDigit(char c) {
  return isDigit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

char lowered(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

/// `text` begins with the word, in any case.
bool beginsWith(std::string_view text, std::string_view word) {
  if (text.size() < word.size()) return false;
  for (std::size_t i = 0; i < word.size(); ++i) {
    if (lowered(text[i]) != word[i]) return false;
  }
  return true;
}

/// Also of JSON within JSON.
bool isQuote(char c) {
  return c == '"' || c == '\'' || c == '\\';
}

/// The length of the beginning of `text` that announces a secret: "bearer ", "password=". 0: none.
std::size_t announcement(std::string_view text) {
  constexpr std::array<std::string_view, 3> kSchemes{"bearer ", "basic ", "token "};
  constexpr std::array<std::string_view, 9> kNames{"password",      "passwd",        "secret",
                                                   "token",         "access_token",  "refresh_token",
                                                   "identitytoken", "authorization", "api_key"};
  for (const auto scheme : kSchemes) {
    if (beginsWith(text, scheme)) return scheme.size();
  }
  for (const auto name : kNames) {
    if (!beginsWith(text, name)) continue;
    auto end = name.size();
    while (end < text.size() && isQuote(text[end])) ++end;
    if (end < text.size() && (text[end] == '=' || text[end] == ':')) return end + 1;
  }
  return 0;
}

/// Whether the word is long and consists of letters, digits and the other characters of base64.
bool looksLikeToken(std::string_view word) {
  constexpr std::string_view kSigns = "_-./+=~";
  constexpr std::size_t kShortest = 12;
  if (word.size() < kShortest) return false;
  bool digit = false;
  for (const char c : word) {
    if (!isLetterOrDigit(c) && kSigns.find(c) == std::string_view::npos) return false;
    digit = digit || isDigit(c) || (c >= 'A' && c <= 'Z');
  }
  return digit;
}

std::string withoutTokens(std::string_view text) {
  constexpr std::string_view kEnds = " \"'\\,;&()[]{}<>";
  std::string out;
  char before = ' ';
  while (!text.empty()) {
    const auto told = isLetterOrDigit(before) ? 0 : announcement(text);
    if (told == 0) {
      before = text.front();
      out.push_back(before);
      text.remove_prefix(1);
      continue;
    }
    const bool named = text[told - 1] != ' ';
    // "token: denied" is a sentence; "token=denied" is not.
    const bool mayBeSentence = named && lowered(text.front()) == 't';
    out.append(text.substr(0, told));
    text.remove_prefix(told);
    before = ' ';
    while (!text.empty() && (text.front() == ' ' || isQuote(text.front()))) {
      out.push_back(text.front());
      text.remove_prefix(1);
    }
    const auto word = text.substr(0, text.find_first_of(kEnds));
    // "authorization: Bearer ...": what follows announces itself.
    if (word.empty() || (named && announcement(text) != 0)) continue;
    const bool sentence = named ? mayBeSentence && out.ends_with(' ') : true;
    if (sentence && !looksLikeToken(word)) continue;
    out.append(kHidden);
    text.remove_prefix(word.size());
  }
  return out;
}

std::string cutToFit(std::string text) {
  if (text.size() <= kMaxEventMessage) return text;
  auto end = kMaxEventMessage - kCut.size();
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) --end;
  text.resize(end);
  return text.append(kCut);
}

/// As Kubernetes writes its times: to the second.
std::string toTheSecond(Wall::time_point when) {
  const auto text = rfc3339(when);
  return text.substr(0, text.find('.')) + "Z";
}

}  // namespace

EventKey keyOf(const EventNote& note) {
  return {note.podUid, note.container, note.reason, note.series};
}

std::string eventMessage(std::string_view text) {
  // Whatever is cut off anyway need not be read.
  constexpr std::size_t kRead = 4 * kMaxEventMessage;
  const auto clean = withoutTokens(withoutUrlSecrets(printable(text.substr(0, kRead))));
  return cutToFit(std::string(trim(clean)));
}

std::string eventName(std::string_view pod, std::uint64_t number) {
  constexpr std::size_t kDigits = 16;
  std::array<char, kDigits> digits{};
  const auto written = std::to_chars(digits.data(), digits.data() + digits.size(), number, 16);
  std::string name(pod.substr(0, kMaxName - 1 - kDigits));
  while (!name.empty() && (name.back() == '-' || name.back() == '.')) name.pop_back();
  return name + "." + std::string(digits.data(), written.ptr);
}

std::string eventObject(const EventBatch& batch, const std::string& name, const std::string& nodeName) {
  const auto& note = batch.note;
  return json::serialize(
      json::object{{"kind", "Event"},
                   {"apiVersion", "v1"},
                   {"metadata", json::object{{"name", name}, {"namespace", note.namespaceName}}},
                   {"involvedObject", json::object{{"kind", "Pod"},
                                                   {"apiVersion", "v1"},
                                                   {"namespace", note.namespaceName},
                                                   {"name", note.pod},
                                                   {"uid", note.podUid},
                                                   {"fieldPath", "spec.containers{" + note.container + "}"}}},
                   {"type", note.type == EventNote::Type::normal ? "Normal" : "Warning"},
                   {"reason", note.reason},
                   {"message", note.message},
                   {"source", json::object{{"component", "fallbackd"}, {"host", nodeName}}},
                   // What other versions of the API call reportingController.
                   {"reportingComponent", "fallbackd"},
                   {"reportingInstance", nodeName},
                   {"firstTimestamp", toTheSecond(batch.first)},
                   {"lastTimestamp", toTheSecond(note.at)},
                   {"count", batch.count}});
}

std::string eventPatch(const EventBatch& batch, std::uint64_t count) {
  return json::serialize(json::object{
      {"count", count}, {"lastTimestamp", toTheSecond(batch.note.at)}, {"message", batch.note.message}});
}

}  // namespace fallbackd::kube
