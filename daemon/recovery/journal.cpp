// SPDX-License-Identifier: Apache-2.0
#include "recovery/journal.hpp"

#include "base/strings.hpp"
#include "sys/file.hpp"
#include "sys/owned_folder.hpp"

#include <algorithm>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <boost/json.hpp>

namespace fallbackd::recovery {

namespace {

namespace json = boost::json;

constexpr std::int64_t kVersion = 1;
constexpr std::size_t kMaxBytes = 1 << 20;
constexpr std::size_t kMaxCauseText = 4096;
constexpr std::string_view kOurAnnotations = "fallbackd.io/";
constexpr std::string_view kSuffix = ".json";

json::object toJson(const cri::Labels& labels) {
  json::object object;
  for (const auto& [name, value] : labels) object[name] = value;
  return object;
}

json::object toJson(const JournalEntry& entry) {
  const auto& incident = entry.incident;
  const auto& process = entry.process;
  json::array leaves;
  for (const auto& leaf : process.cgroupLeaves) leaves.emplace_back(leaf);
  json::array namespaces;
  for (const auto& one : process.namespaces) namespaces.emplace_back(one);
  json::object object{{"version", kVersion},
                      {"id", incident.id},
                      {"sandbox", incident.target.sandboxId},
                      {"podUid", incident.target.podUid},
                      {"podNamespace", incident.target.podNamespace},
                      {"podName", incident.target.podName},
                      {"container", incident.target.container},
                      {"workload", incident.workload},
                      {"binary", incident.binary.toString()},
                      {"cause", toString(incident.cause)},
                      {"causeText", incident.causeText},
                      {"begun", rfc3339(incident.begun)},
                      {"podIp", incident.podIp},
                      {"ready", incident.state == State::ready},
                      {"restarts", incident.restarts},
                      {"pid", process.pid},
                      {"startTime", process.startTime},
                      {"cgroupLeaves", std::move(leaves)},
                      {"namespaces", std::move(namespaces)},
                      {"fifoDir", process.fifoDir},
                      {"logFile", process.logFile}};
  if (incident.neverAgain) object["ended"] = toString(incident.state);
  if (entry.pod) {
    object["podLabels"] = toJson(entry.pod->labels);
    object["podAnnotations"] = toJson(entry.pod->annotations);
  }
  return object;
}

/// An entry that the next daemon cannot read would be worse than one that contains less.
std::string textOf(JournalEntry entry) {
  auto text = json::serialize(toJson(entry)) + "\n";
  if (text.size() <= kMaxBytes) return text;
  entry.pod.reset();
  entry.incident.causeText = cleanUtf8(entry.incident.causeText, kMaxCauseText);
  return json::serialize(toJson(entry)) + "\n";
}

cri::Labels labelsFrom(const json::value& value) {
  cri::Labels labels;
  for (const auto& [name, one] : value.as_object()) labels.emplace(name, one.as_string());
  return labels;
}

Result<State> endFrom(std::string_view text) {
  for (const auto state : {State::handed_back, State::completed, State::pod_gone, State::failed}) {
    if (toString(state) == text) return state;
  }
  return fail(Stage::journal, Reason::invalid, "ended is damaged");
}

/// Throws what Boost.JSON throws if a field is missing or has the wrong type.
Result<JournalEntry> fromJson(const json::object& object) {
  if (object.at("version").as_int64() != kVersion) {
    return fail(Stage::journal, Reason::invalid, "version is not " + std::to_string(kVersion));
  }
  const auto text = [&](const char* key) { return std::string(object.at(key).as_string()); };
  JournalEntry entry;
  auto& incident = entry.incident;
  incident.id = text("id");
  incident.target = {text("sandbox"), text("podUid"), text("podNamespace"), text("podName"),
                     text("container")};
  incident.workload = text("workload");
  FB_TRY(incident.binary, parseBinaryRef(text("binary")));
  const auto cause = parseCause(text("cause"));
  const auto begun = parseRfc3339(text("begun"));
  if (!cause || !begun) return fail(Stage::journal, Reason::invalid, "cause or begun is damaged");
  incident.cause = *cause;
  incident.begun = *begun;
  incident.causeText = text("causeText");
  incident.podIp = text("podIp");
  incident.state = object.at("ready").as_bool() ? State::ready : State::started;
  incident.restarts = object.at("restarts").to_number<unsigned>();
  incident.adopted = true;
  if (const auto* ended = object.if_contains("ended")) {
    incident.neverAgain = true;
    FB_TRY(incident.state, endFrom(ended->as_string()));
  }
  entry.process.recoveryId = incident.id;
  entry.process.pid = object.at("pid").to_number<pid_t>();
  entry.process.startTime = object.at("startTime").to_number<std::uint64_t>();
  for (const auto& leaf : object.at("cgroupLeaves").as_array()) {
    entry.process.cgroupLeaves.emplace_back(leaf.as_string());
  }
  if (const auto* namespaces = object.if_contains("namespaces")) {  // not before version 0.2
    for (const auto& one : namespaces->as_array()) entry.process.namespaces.emplace_back(one.as_string());
  }
  entry.process.fifoDir = text("fifoDir");
  entry.process.logFile = text("logFile");
  const auto* labels = object.if_contains("podLabels");
  const auto* annotations = object.if_contains("podAnnotations");
  if (labels != nullptr && annotations != nullptr) {
    entry.pod.emplace();
    entry.pod->labels = labelsFrom(*labels);
    entry.pod->annotations = labelsFrom(*annotations);
  }
  incident.pid = entry.process.pid;
  return entry;
}

Result<JournalEntry> parse(const std::string& bytes) {
  // One text that is not UTF-8 must not lose what has to be remembered, such as neverAgain.
  json::parse_options lenient;
  lenient.allow_invalid_utf8 = true;
  json::error_code error;
  const auto value = json::parse(bytes, error, {}, lenient);
  if (error || !value.is_object()) return fail(Stage::journal, Reason::invalid, "not a JSON object");
  try {
    return fromJson(value.get_object());
  } catch (const std::exception& failure) {
    return fail(Stage::journal, Reason::invalid, failure.what());
  }
}

/// A name that begins with a dot is a temporary file of an interrupted write.
bool isEntry(const std::string& name) {
  return name.ends_with(kSuffix) && !name.starts_with('.');
}

}  // namespace

PodFacts factsOf(const cri::Sandbox& sandbox) {
  PodFacts facts{sandbox.labels, {}};
  for (const auto& one : sandbox.annotations) {
    if (one.first.starts_with(kOurAnnotations)) facts.annotations.insert(one);
  }
  return facts;
}

Result<Journal> Journal::open(const std::string& runDir) {
  const std::string path = runDir + "/journal";
  FB_CHECK(sys::makeDirs(Stage::journal, path, 0700));
  FB_TRY(auto dir, sys::openDir(Stage::journal, path));
  if (::flock(dir.get(), LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return failErrno(Stage::journal, "lock " + path);
    return fail(Stage::journal, Reason::already_exists,
                "another fallbackd uses " + runDir + ": two daemons would start everything twice");
  }
  FB_TRY(const auto names, sys::listDir(Stage::journal, dir));
  std::set<std::string> ids;
  for (const auto& name : names) {
    if (isEntry(name)) ids.insert(name.substr(0, name.size() - kSuffix.size()));
    // Left by a daemon that was killed during a write: the lock makes it ours alone, and it is never read.
    if (name.starts_with('.') && name.ends_with(std::string(kSuffix) + ".new")) {
      static_cast<void>(::unlinkat(dir.get(), name.c_str(), 0));
    }
  }
  return Journal(std::move(dir), std::move(ids));
}

void Journal::count(telemetry::JournalOperation operation, const Result<>& result) {
  using Counted = telemetry::JournalResult;
  if (metrics_ != nullptr) metrics_->changed(operation, result ? Counted::ok : Counted::failed, size());
}

Result<> Journal::write(const JournalEntry& entry) {
  auto written =
      sys::replaceFile(Stage::journal, dir_, entry.incident.id + std::string(kSuffix), textOf(entry), 0600);
  if (written) ids_.insert(entry.incident.id);
  count(telemetry::JournalOperation::write, written);
  return written;
}

Result<> Journal::remove(const std::string& recoveryId) {
  const std::string name = recoveryId + std::string(kSuffix);
  Result<> removed;
  if (!sys::isSingleName(name)) {
    removed = fail(Stage::journal, Reason::unsafe_path, "remove " + quoted(name));
  } else if (::unlinkat(dir_.get(), name.c_str(), 0) != 0 && errno != ENOENT) {
    removed = failErrno(Stage::journal, "remove " + name);
  }
  if (removed) ids_.erase(recoveryId);
  count(telemetry::JournalOperation::remove, removed);
  return removed;
}

Result<Journal::Contents> Journal::read() const {
  auto contents = readAll();
  if (metrics_ != nullptr) metrics_->read(size(), contents ? contents->damaged.size() : 0);
  return contents;
}

Result<Journal::Contents> Journal::readAll() const {
  Contents contents;
  FB_TRY(const auto names, sys::listDir(Stage::journal, dir_));
  for (const auto& name : names) {
    if (!isEntry(name)) continue;
    const auto fd = sys::openBeneath(Stage::journal, dir_, name);
    auto bytes = fd ? sys::readAll(Stage::journal, *fd, kMaxBytes, name) : tl::unexpected<Error>(fd.error());
    auto entry = bytes ? parse(*bytes) : tl::unexpected<Error>(bytes.error());
    // Files to be removed later are named by the id.
    if (entry && entry->incident.id + std::string(kSuffix) != name)
      entry = fail(Stage::journal, Reason::invalid, "belongs to recovery " + quoted(entry->incident.id));
    if (entry) {
      contents.entries.push_back(std::move(*entry));
    } else {
      contents.damaged.emplace_back(name, entry.error());
    }
  }
  return contents;
}

}  // namespace fallbackd::recovery
