// SPDX-License-Identifier: Apache-2.0
#include "launcher/pod_files.hpp"

#include "launcher/logs/log_copy.hpp"
#include "spawner/fields.hpp"
#include "sys/file.hpp"

#include <algorithm>
#include <fcntl.h>

namespace fallbackd::launcher {

namespace {

using workers::Outcome;
using workers::Task;
using workers::Work;

constexpr std::size_t kMaxVolumes = 1024;
constexpr std::size_t kMaxTexts = 4096;
constexpr std::size_t kMaxFileBytes = 128 * 1024;  // with its envelope in one message

struct VolumesAnswer {
  decltype(PreparedMounts::targets) targets;
  std::map<std::string, std::string> variables;
};

struct LatestRestart {
  std::uint32_t number = 0;
};

tl::unexpected<Error> damaged(Stage stage, const char* what) {
  return fail(stage, Reason::protocol, what);
}

// The messages: for each its fields in the order in which they are sent (spawner/fields.hpp).

void fields(auto& wire, Of<config::Volume> auto& volume) {
  wire.choice(volume.kind);
  wire.text(volume.name);
  wire.text(volume.mountPath);
  wire.text(volume.subPath);
  wire.flag(volume.readOnly);
  wire.text(volume.path);
}

void fields(auto& wire, Of<config::LogLimits> auto& limits) {
  wire.number(limits.maxBytes);
  wire.number(limits.maxFiles);
}

void fields(auto& wire, Of<VolumesQuestion> auto& question) {
  wire.text(question.source.kubeletPods);
  wire.text(question.source.podUid);
  wire.texts(question.source.allowedHostPaths, kMaxTexts);
  wire.list(question.volumes, kMaxVolumes, [](auto& in, auto& volume) { fields(in, volume); });
  wire.map(question.envFiles, kMaxTexts);
}

void fields(auto& wire, Of<VolumesAnswer> auto& answer) {
  wire.list(answer.targets, kMaxVolumes, [](auto& in, auto& target) {
    in.text(target.path);
    in.flag(target.directory);
  });
  wire.map(answer.variables, kMaxTexts);
}

void fields(auto& wire, Of<OpenLogQuestion> auto& question) {
  wire.text(question.path);
  fields(wire, question.limits);
}

void fields(auto& wire, Of<CopyLogQuestion> auto& question) {
  wire.text(question.path);
  fields(wire, question.limits);
  wire.text(question.stream);
  wire.number(question.maxBytes);
  wire.number(question.maxLines);
  wire.choice(question.ends);
}

void fields(auto& wire, Of<DropLogQuestion> auto& question) {
  wire.number(question.maxBytes);
}

void fields(auto& wire, Of<CopiedLog> auto& copied) {
  wire.number(copied.bytes);
  wire.number(copied.lines);
  wire.choice(copied.left);
}

void fields(auto& wire, Of<ListLogsQuestion> auto& question) {
  wire.text(question.logDirectory);
  wire.text(question.container);
}

void fields(auto& wire, Of<LatestRestart> auto& latest) {
  wire.number(latest.number);
}

bool valid(const VolumesQuestion& question) {
  return std::all_of(question.volumes.begin(), question.volumes.end(), [](const config::Volume& volume) {
    return volume.kind <= config::Volume::Kind::host_path;
  });
}

bool valid(const CopyLogQuestion& question) {
  return question.ends <= LineEnds::parts_too;
}

bool valid(const CopiedLog& copied) {
  return copied.left <= CopiedLog::Left::nothing;
}

template <class Message>
bool valid(const Message& /*any content*/) {
  return true;
}

template <class Message>
std::string written(const Message& message) {
  WireWriter wire;
  FieldWriter writer(wire);
  fields(writer, message);
  return wire.take();
}

/// `what`: the expected message, for the error.
template <class Message>
Result<Message> readMessage(std::string_view bytes, Stage stage, const char* what) {
  WireReader wire(bytes);
  FieldReader reader(wire);
  Message message;
  fields(reader, message);
  if (!wire.atEnd() || !valid(message)) return damaged(stage, what);
  return message;
}

Result<Outcome> prepare(std::string_view bytes, std::vector<sys::UniqueFd> fds) {
  FB_TRY(auto question, readMessage<VolumesQuestion>(bytes, Stage::rootfs, "a request for volumes"));
  auto& source = question.source;
  if (fds.size() > 1) return damaged(Stage::rootfs, "a request for volumes");
  if (!fds.empty()) source.idMap = &fds.front();

  VolumesAnswer answer;
  for (const auto& [name, path] : question.envFiles) {
    FB_TRY(answer.variables[name], readVolumeFile(source, question.volumes, path));
  }
  FB_TRY(auto mounts, prepareVolumes(source, std::move(question.volumes)));
  answer.targets = std::move(mounts.targets);
  return Outcome{written(answer), std::move(mounts.trees)};
}

Result<Outcome> openLog(std::string_view bytes) {
  FB_TRY(const auto question, readMessage<OpenLogQuestion>(bytes, Stage::logs, "a request for a log file"));
  FB_CHECK(LogFile::open(question.path, question.limits));
  return Outcome{};
}

Result<Outcome> copyLog(std::string_view bytes, const std::vector<sys::UniqueFd>& fds) {
  FB_TRY(const auto question, readMessage<CopyLogQuestion>(bytes, Stage::logs, "a request for a stream"));
  if (fds.size() != 1) return damaged(Stage::logs, "a request for a stream");
  FB_TRY(const auto copied, launcher::copyLog(question, fds.front()));
  return Outcome{written(copied), {}};
}

Result<Outcome> dropLog(std::string_view bytes, const std::vector<sys::UniqueFd>& fds) {
  FB_TRY(const auto question, readMessage<DropLogQuestion>(bytes, Stage::logs, "a request to drop output"));
  if (fds.size() != 1) return damaged(Stage::logs, "a request to drop output");
  return Outcome{written(launcher::dropLog(fds.front().get(), question.maxBytes)), {}};
}

Result<Outcome> openFifos(std::string_view bytes, const std::vector<sys::UniqueFd>& fds) {
  if (!bytes.empty() || fds.size() != 1) return damaged(Stage::logs, "a request for FIFOs");
  Outcome outcome;
  for (const char* name : {"stdout", "stderr"}) {
    FB_TRY(auto fifo, openFifoAt(fds.front(), name, name, O_RDONLY | O_NONBLOCK));
    outcome.fds.push_back(std::move(fifo));
  }
  return outcome;
}

Result<Outcome> listLogs(std::string_view bytes) {
  FB_TRY(const auto question,
         readMessage<ListLogsQuestion>(bytes, Stage::logs, "a request for a folder of logs"));
  return Outcome{written(LatestRestart{latestRestartOf(question.logDirectory, question.container)}), {}};
}

}  // namespace

void ask(Task& task, const VolumesQuestion& question) {
  task.work = Work::prepare_volumes;
  task.bytes = written(question);
  if (const auto* users = question.source.idMap) {
    task.fds.emplace_back(::fcntl(users->get(), F_DUPFD_CLOEXEC, 0));
  }
}

void ask(Task& task, const OpenLogQuestion& question) {
  task.work = Work::open_log;
  task.bytes = written(question);
}

void ask(Task& task, const ListLogsQuestion& question) {
  task.work = Work::list_logs;
  task.bytes = written(question);
}

void ask(Task& task, const CopyLogQuestion& question, sys::UniqueFd fifo) {
  task.work = Work::copy_log;
  task.bytes = written(question);
  task.fds.push_back(std::move(fifo));
}

void ask(Task& task, const DropLogQuestion& question, sys::UniqueFd fifo) {
  task.work = Work::drop_log;
  task.bytes = written(question);
  task.fds.push_back(std::move(fifo));
}

void ask(Task& task, const OpenFifosQuestion& /*has nothing to say*/, sys::UniqueFd folder) {
  task.work = Work::open_fifos;
  task.fds.push_back(std::move(folder));
}

Result<PodVolumes> readVolumes(Outcome outcome) {
  FB_TRY(auto answer, readMessage<VolumesAnswer>(outcome.bytes, Stage::rootfs, "a response about volumes"));
  if (outcome.fds.size() != answer.targets.size()) return damaged(Stage::rootfs, "a response about volumes");
  PodVolumes volumes;
  volumes.mounts.targets = std::move(answer.targets);
  volumes.mounts.trees = std::move(outcome.fds);
  volumes.variables = std::move(answer.variables);
  return volumes;
}

Result<CopiedLog> readCopiedLog(const Outcome& outcome) {
  return readMessage<CopiedLog>(outcome.bytes, Stage::logs, "a response about a stream");
}

Result<OpenedFifos> readOpenedFifos(Outcome outcome) {
  if (outcome.fds.size() != 2) return damaged(Stage::logs, "a response about FIFOs");
  return OpenedFifos{std::move(outcome.fds[0]), std::move(outcome.fds[1])};
}

Result<unsigned> readLatestRestart(const Outcome& outcome) {
  FB_TRY(const auto latest,
         readMessage<LatestRestart>(outcome.bytes, Stage::logs, "a response about a folder of logs"));
  return latest.number;
}

Result<Outcome> performOnPodFiles(const workers::Question& question, std::vector<sys::UniqueFd> fds) {
  switch (question.work) {
    case Work::read_file: {
      const std::string path(question.bytes);
      FB_TRY(auto text, sys::readFile(Stage::detection, path, kMaxFileBytes));
      return Outcome{std::move(text), {}};
    }
    case Work::prepare_volumes:
      return prepare(question.bytes, std::move(fds));
    case Work::open_log:
      return openLog(question.bytes);
    case Work::copy_log:
      return copyLog(question.bytes, fds);
    case Work::list_logs:
      return listLogs(question.bytes);
    case Work::drop_log:
      return dropLog(question.bytes, fds);
    case Work::open_fifos:
      return openFifos(question.bytes, fds);
    case Work::run_program:
      break;  // not on a pod's files
  }
  return damaged(Stage::run, "a request of an unknown kind");
}

}  // namespace fallbackd::launcher
