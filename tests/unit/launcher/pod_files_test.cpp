// SPDX-License-Identifier: Apache-2.0
// A worker's requests and responses, without the worker process.
#include "launcher/pod_files.hpp"

#include "temp_folder.hpp"

#include <array>
#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>
#include <unistd.h>

#include <gtest/gtest.h>

namespace fallbackd::launcher {
namespace {

using workers::Outcome;
using workers::Task;

/// Performs the task and takes its descriptors, as sending it would.
Result<Outcome> performed(Task task) {
  return performOnPodFiles({task.work, task.bytes}, std::move(task.fds));
}

std::array<sys::UniqueFd, 2> pipeWith(const std::string& text) {
  std::array<int, 2> ends{-1, -1};
  EXPECT_EQ(::pipe2(ends.data(), O_CLOEXEC | O_NONBLOCK), 0);
  EXPECT_EQ(::write(ends[1], text.data(), text.size()), static_cast<ssize_t>(text.size()));
  return {sys::UniqueFd(ends[0]), sys::UniqueFd(ends[1])};
}

CopyLogQuestion copyTo(const std::string& path) {
  return {path, {}, "stderr", 1000, 100, LineEnds::whole_lines};
}

TEST(PodFiles, ALogIsOpenedAndWritten) {
  const test::TempFolder folder;
  const std::string path = folder.path() + "/pod/app-fallback/0.log";
  Task open;
  ask(open, OpenLogQuestion{path, {}});
  ASSERT_TRUE(performed(std::move(open)));
  auto ends = pipeWith("one\ntwo\n");
  Task copy;
  ask(copy, copyTo(path), std::move(ends[0]));
  const auto outcome = performed(std::move(copy));
  ASSERT_TRUE(outcome) << outcome.error().message();
  const auto copied = readCopiedLog(*outcome);
  ASSERT_TRUE(copied);
  EXPECT_EQ(copied->bytes, 8U);
  EXPECT_EQ(copied->lines, 2U);
  EXPECT_GT(std::filesystem::file_size(path), 8U);
}

TEST(PodFiles, OutputIsDropped) {
  auto ends = pipeWith("one\ntwo\n");
  Task task;
  ask(task, DropLogQuestion{4}, std::move(ends[0]));
  const auto outcome = performed(std::move(task));
  ASSERT_TRUE(outcome) << outcome.error().message();
  const auto dropped = readCopiedLog(*outcome);
  ASSERT_TRUE(dropped);
  EXPECT_EQ(dropped->bytes, 4U);
}

TEST(PodFiles, FifosAreOpenedAndNothingElse) {
  const test::TempFolder folder;
  const auto opened = [&] {
    Task task;
    ask(task, OpenFifosQuestion{},
        sys::UniqueFd(::open(folder.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)));
    auto outcome = performed(std::move(task));
    return outcome ? readOpenedFifos(std::move(*outcome)) : tl::unexpected<Error>(outcome.error());
  };
  EXPECT_EQ(opened().error().reason, Reason::not_found);
  for (const char* name : {"/stdout", "/stderr"})
    ASSERT_EQ(::mkfifo((folder.path() + name).c_str(), 0600), 0);
  const auto both = opened();
  ASSERT_TRUE(both) << both.error().message();
  EXPECT_TRUE(both->out && both->err);
  std::filesystem::remove(folder.path() + "/stderr");
  folder.write("stderr", "a file");
  EXPECT_EQ(opened().error().reason, Reason::unsafe_file_type);
}

TEST(PodFiles, AMissingFileOfAVariableIsReported) {
  const test::TempFolder folder;
  folder.write("pods/uid/volumes/kubernetes.io~secret/api/token", "s3cr3t");
  VolumesQuestion question;
  question.source.kubeletPods = folder.path() + "/pods";
  question.source.podUid = "uid";
  question.volumes = {{config::Volume::Kind::secret, "api", "/etc/api", "", true}};
  question.envFiles = {{"TOKEN", "/etc/api/none"}};
  Task task;
  ask(task, question);
  EXPECT_EQ(performed(std::move(task)).error().reason, Reason::volume_missing);
}

TEST(PodFiles, DamagedQuestionsAreRefused) {
  Task volumes;
  VolumesQuestion question;
  question.source.kubeletPods = "/nonexistent";
  question.volumes = {{config::Volume::Kind::secret, "api", "/etc/api", "", true}};
  question.envFiles = {{"TOKEN", "/etc/api/token"}};
  ask(volumes, question);
  Task open;
  ask(open, OpenLogQuestion{"/nonexistent/a/0.log", {}});
  for (const auto* task : {&volumes, &open}) {
    for (std::size_t size = 0; size < task->bytes.size(); ++size) {
      const auto cut = performOnPodFiles({task->work, std::string_view(task->bytes).substr(0, size)}, {});
      ASSERT_FALSE(cut);
      EXPECT_EQ(cut.error().reason, Reason::protocol) << toString(task->work) << " cut at " << size;
    }
  }
  question.volumes.front().kind = static_cast<config::Volume::Kind>(200);
  Task unknown;
  ask(unknown, question);
  EXPECT_EQ(performOnPodFiles({unknown.work, unknown.bytes}, {}).error().reason, Reason::protocol)
      << "an unknown kind of volume";
  auto ends = pipeWith("x");
  Task copy;
  ask(copy, copyTo("/nonexistent/a/0.log"), std::move(ends[0]));
  EXPECT_EQ(performOnPodFiles({copy.work, copy.bytes}, {}).error().reason, Reason::protocol)
      << "without its descriptor";
}

TEST(PodFiles, DamagedAnswersAreRefused) {
  EXPECT_EQ(readCopiedLog({"", {}}).error().reason, Reason::protocol);
  EXPECT_EQ(readCopiedLog({std::string(9, '\x7f'), {}}).error().reason, Reason::protocol);
  EXPECT_EQ(readVolumes({"", {}}).error().reason, Reason::protocol);
  EXPECT_EQ(readVolumes({std::string(8, '\x7f'), {}}).error().reason, Reason::protocol);
  // One more descriptor than targets.
  std::vector<sys::UniqueFd> fds;
  fds.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(readVolumes({std::string(8, '\0'), std::move(fds)}).error().reason, Reason::protocol);
}

}  // namespace
}  // namespace fallbackd::launcher
