// SPDX-License-Identifier: Apache-2.0
#include "launcher/pod_files.hpp"

#include "launcher/logs/log_copy.hpp"
#include "spawner/wire.hpp"
#include "sys/file.hpp"

#include <fcntl.h>

namespace fallbackd::launcher {

namespace {

using workers::Outcome;
using workers::Task;
using workers::Work;

constexpr std::size_t kMaxVolumes = 1024;
constexpr std::size_t kMaxTexts = 4096;
constexpr std::size_t kMaxFileBytes = 128 * 1024;  // with its envelope in one message

tl::unexpected<Error> damaged(Stage stage, const char* what) {
  return fail(stage, Reason::protocol, what);
}

void write(WireWriter& wire, const config::Volume& volume) {
  wire.number(static_cast<std::uint8_t>(volume.kind));
  wire.text(volume.name);
  wire.text(volume.mountPath);
  wire.text(volume.subPath);
  wire.number(static_cast<std::uint8_t>(volume.readOnly));
  wire.text(volume.path);
}

config::Volume readVolume(WireReader& wire) {
  config::Volume volume;
  const auto kind = wire.number<std::uint8_t>();
  if (kind > static_cast<std::uint8_t>(config::Volume::Kind::host_path)) wire.refuse();
  volume.kind = static_cast<config::Volume::Kind>(kind);
  volume.name = wire.text();
  volume.mountPath = wire.text();
  volume.subPath = wire.text();
  volume.readOnly = wire.number<std::uint8_t>() != 0;
  volume.path = wire.text();
  return volume;
}

void write(WireWriter& wire, const std::map<std::string, std::string>& texts) {
  wire.number(static_cast<std::uint32_t>(texts.size()));
  for (const auto& [name, value] : texts) {
    wire.text(name);
    wire.text(value);
  }
}

std::map<std::string, std::string> readTexts(WireReader& wire) {
  std::map<std::string, std::string> texts;
  const auto count = wire.count(kMaxTexts);
  for (std::size_t i = 0; i < count && wire.ok(); ++i) {
    auto name = wire.text();
    texts[std::move(name)] = wire.text();
  }
  return texts;
}

void write(WireWriter& wire, const config::LogLimits& limits) {
  wire.number(limits.maxBytes);
  wire.number(limits.maxFiles);
}

config::LogLimits readLimits(WireReader& wire) {
  config::LogLimits limits;
  limits.maxBytes = wire.number<std::uint64_t>();
  limits.maxFiles = wire.number<unsigned>();
  return limits;
}

Result<Outcome> prepare(std::string_view bytes, std::vector<sys::UniqueFd> fds) {
  WireReader wire(bytes);
  VolumesQuestion question;
  auto& source = question.source;
  source.kubeletPods = wire.text();
  source.podUid = wire.text();
  source.allowedHostPaths = wire.texts(kMaxTexts);
  const auto count = wire.count(kMaxVolumes);
  for (std::size_t i = 0; i < count && wire.ok(); ++i) question.volumes.push_back(readVolume(wire));
  question.envFiles = readTexts(wire);
  if (!wire.atEnd() || fds.size() > 1) return damaged(Stage::rootfs, "a request for volumes");
  if (!fds.empty()) source.idMap = &fds.front();

  WireWriter answer;
  std::map<std::string, std::string> variables;
  for (const auto& [name, path] : question.envFiles) {
    FB_TRY(variables[name], readVolumeFile(source, question.volumes, path));
  }
  FB_TRY(auto mounts, prepareVolumes(source, std::move(question.volumes)));
  answer.number(static_cast<std::uint32_t>(mounts.targets.size()));
  for (const auto& target : mounts.targets) {
    answer.text(target.path);
    answer.number(static_cast<std::uint8_t>(target.directory));
  }
  write(answer, variables);
  return Outcome{answer.take(), std::move(mounts.trees)};
}

Result<Outcome> openLog(std::string_view bytes) {
  WireReader wire(bytes);
  OpenLogQuestion question;
  question.path = wire.text();
  question.limits = readLimits(wire);
  if (!wire.atEnd()) return damaged(Stage::logs, "a request for a log file");
  FB_CHECK(LogFile::open(question.path, question.limits));
  return Outcome{};
}

Result<Outcome> copyLog(std::string_view bytes, const std::vector<sys::UniqueFd>& fds) {
  WireReader wire(bytes);
  CopyLogQuestion question;
  question.path = wire.text();
  question.limits = readLimits(wire);
  question.stream = wire.text();
  question.maxBytes = wire.number<std::uint32_t>();
  question.maxLines = wire.number<std::uint32_t>();
  question.ends = wire.number<std::uint8_t>() == 0 ? LineEnds::whole_lines : LineEnds::parts_too;
  if (!wire.atEnd() || fds.size() != 1) return damaged(Stage::logs, "a request for a stream");
  FB_TRY(const auto copied, launcher::copyLog(question, fds.front()));
  WireWriter answer;
  answer.number(copied.bytes);
  answer.number(copied.lines);
  answer.number(static_cast<std::uint8_t>(copied.left));
  return Outcome{answer.take(), {}};
}

Result<Outcome> listLogs(std::string_view bytes) {
  WireReader wire(bytes);
  ListLogsQuestion question;
  question.logDirectory = wire.text();
  question.container = wire.text();
  if (!wire.atEnd()) return damaged(Stage::logs, "a question for a folder of logs");
  WireWriter answer;
  answer.number(static_cast<std::uint32_t>(latestRestartOf(question.logDirectory, question.container)));
  return Outcome{answer.take(), {}};
}

}  // namespace

void ask(Task& task, const VolumesQuestion& question) {
  WireWriter wire;
  wire.text(question.source.kubeletPods);
  wire.text(question.source.podUid);
  wire.texts(question.source.allowedHostPaths);
  wire.number(static_cast<std::uint32_t>(question.volumes.size()));
  for (const auto& volume : question.volumes) write(wire, volume);
  write(wire, question.envFiles);
  task.work = Work::prepare_volumes;
  task.bytes = wire.take();
  if (const auto* users = question.source.idMap) {
    task.fds.emplace_back(::fcntl(users->get(), F_DUPFD_CLOEXEC, 0));
  }
}

void ask(Task& task, const OpenLogQuestion& question) {
  WireWriter wire;
  wire.text(question.path);
  write(wire, question.limits);
  task.work = Work::open_log;
  task.bytes = wire.take();
}

void ask(Task& task, const ListLogsQuestion& question) {
  WireWriter wire;
  wire.text(question.logDirectory);
  wire.text(question.container);
  task.work = Work::list_logs;
  task.bytes = wire.take();
}

void ask(Task& task, const CopyLogQuestion& question, sys::UniqueFd fifo) {
  WireWriter wire;
  wire.text(question.path);
  write(wire, question.limits);
  wire.text(question.stream);
  wire.number(question.maxBytes);
  wire.number(question.maxLines);
  wire.number(static_cast<std::uint8_t>(question.ends));
  task.work = Work::copy_log;
  task.bytes = wire.take();
  task.fds.push_back(std::move(fifo));
}

Result<PodVolumes> readVolumes(Outcome outcome) {
  WireReader wire(outcome.bytes);
  PodVolumes volumes;
  const auto count = wire.count(kMaxVolumes);
  for (std::size_t i = 0; i < count && wire.ok(); ++i) {
    auto path = wire.text();
    volumes.mounts.targets.push_back({std::move(path), wire.number<std::uint8_t>() != 0});
  }
  volumes.variables = readTexts(wire);
  if (!wire.atEnd() || outcome.fds.size() != volumes.mounts.targets.size()) {
    return damaged(Stage::rootfs, "a response about volumes");
  }
  volumes.mounts.trees = std::move(outcome.fds);
  return volumes;
}

Result<CopiedLog> readCopiedLog(const Outcome& outcome) {
  WireReader wire(outcome.bytes);
  CopiedLog copied;
  copied.bytes = wire.number<std::uint32_t>();
  copied.lines = wire.number<std::uint32_t>();
  const auto left = wire.number<std::uint8_t>();
  if (!wire.atEnd() || left > static_cast<std::uint8_t>(CopiedLog::Left::nothing)) {
    return damaged(Stage::logs, "a response about a stream");
  }
  copied.left = static_cast<CopiedLog::Left>(left);
  return copied;
}

Result<unsigned> readLatestRestart(const Outcome& outcome) {
  WireReader wire(outcome.bytes);
  const auto latest = wire.number<std::uint32_t>();
  if (!wire.atEnd()) return damaged(Stage::logs, "an answer about a folder of logs");
  return latest;
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
    case Work::run_program:
      break;  // not on a pod's files
  }
  return damaged(Stage::run, "a request of an unknown kind");
}

}  // namespace fallbackd::launcher
