// The part of libnvidia-ml that HelixFlow calls, over a text file that a test writes: STATE_FILE, read at every call.
// The structs and numbers are those of nvml.h, declared here anew; the sizes are checked by the compiler.
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

typedef struct { uint32_t version; uint64_t total, reserved, free, used; } nvmlMemory_v2_t;
typedef struct { uint32_t gpu, memory; } nvmlUtilization_t;
typedef struct { uint32_t pid; uint64_t usedGpuMemory; uint32_t gpuInstanceId, computeInstanceId; } nvmlProcessInfo_t;
typedef struct { uintptr_t device; uint64_t eventType, eventData; uint32_t gpuInstanceId, computeInstanceId; } nvmlEventData_t;
_Static_assert(sizeof(nvmlEventData_t) == 32, "nvmlEventData_t");
_Static_assert(sizeof(nvmlMemory_v2_t) == 40, "nvmlMemory_v2_t");
_Static_assert(sizeof(nvmlUtilization_t) == 8, "nvmlUtilization_t");
_Static_assert(sizeof(nvmlProcessInfo_t) == 24, "nvmlProcessInfo_t");
#define MEMORY_V2 ((uint32_t)(sizeof(nvmlMemory_v2_t) | (2 << 24)))

enum { SUCCESS = 0, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, TIMEOUT = 10, GPU_IS_LOST = 15,
       VERSION_MISMATCH = 25 };

// A handle is the position of the line `device` in the file, from one; a MIG instance has 100 added for each.
typedef struct { const char *key; uintptr_t device; } Question;

static void hang(void) {
  FILE *file = fopen(STATE_FILE, "r");
  char line[512];
  unsigned milliseconds = 0;
  while (file && fgets(line, sizeof line, file)) sscanf(line, "hang %u", &milliseconds);
  if (file) fclose(file);
  usleep(milliseconds * 1000);
}

// The rest of the index-th line that begins with the key and stands below the device; 0 when there is none.
static int find(Question question, int index, char *rest) {
  FILE *file = fopen(STATE_FILE, "r");
  char line[512], key[64];
  uintptr_t device = 0;
  int found = 0, offset;
  while (!found && file && fgets(line, sizeof line, file)) {
    if (sscanf(line, "%63s%n", key, &offset) != 1) continue;
    if (!strcmp(key, "device")) device++;
    if (strcmp(key, question.key) || (question.device && device != question.device % 100)) continue;
    if (index-- > 0) continue;
    strcpy(rest, line + offset);
    rest[strcspn(rest, "\n")] = 0;
    found = 1;
  }
  if (file) fclose(file);
  return found;
}

static int number(uintptr_t device, const char *key, unsigned long long *value) {
  char rest[512];
  hang();
  if (find((Question){"lost", device}, 0, rest)) return GPU_IS_LOST;
  if (!find((Question){key, device}, 0, rest) || sscanf(rest, "%llu", value) != 1) return NOT_SUPPORTED;
  return SUCCESS;
}

static int number32(uintptr_t device, const char *key, uint32_t *value) {
  unsigned long long wide;
  int code = number(device, key, &wide);
  if (code == SUCCESS) *value = (uint32_t)wide;
  return code;
}

int nvmlInit_v2(void) {
  unsigned long long code = SUCCESS;
  number(0, "init", &code);
  return (int)code;
}

int nvmlDeviceGetCount_v2(uint32_t *count) {
  char rest[512];
  for (*count = 0; find((Question){"device", 0}, (int)*count, rest); ++*count) {}
  return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(uint32_t index, uintptr_t *device) {
  *device = index + 1;
  return SUCCESS;
}

int nvmlDeviceGetUUID(uintptr_t device, char *uuid, uint32_t length) {
  char rest[512], text[128];
  if (device >= 100) {
    if (!find((Question){"mig", device}, (int)(device / 100) - 1, rest)) return NOT_FOUND;
  } else if (!find((Question){"device", device}, 0, rest)) return NOT_FOUND;
  if (sscanf(rest, "%127s", text) != 1 || strlen(text) >= length) return INSUFFICIENT_SIZE;
  strcpy(uuid, text);
  return SUCCESS;
}

int nvmlDeviceGetName(uintptr_t device, char *name, uint32_t length) {
  char rest[512];
  if (!find((Question){"name", device}, 0, rest) || strlen(rest) > length) return NOT_SUPPORTED;
  strcpy(name, rest + 1);
  return SUCCESS;
}

int nvmlDeviceGetMemoryInfo_v2(uintptr_t device, nvmlMemory_v2_t *memory) {
  char rest[512];
  unsigned long long total, reserved, used;
  if (memory->version != MEMORY_V2) return VERSION_MISMATCH;
  hang();
  if (find((Question){"prints", 0}, 0, rest)) {
    puts(rest + 1);
    fflush(stdout);
  }
  if (find((Question){"lost", device}, 0, rest)) return GPU_IS_LOST;
  if (device >= 100) {
    if (!find((Question){"mig", device}, (int)(device / 100) - 1, rest)) return NOT_FOUND;
    if (sscanf(rest, "%*s %llu %llu %llu", &total, &reserved, &used) != 3) return NOT_SUPPORTED;
  } else if (!find((Question){"memory", device}, 0, rest) ||
             sscanf(rest, "%llu %llu %llu", &total, &reserved, &used) != 3) return NOT_SUPPORTED;
  memory->total = total;
  memory->reserved = reserved;
  memory->used = used;
  memory->free = total - reserved - used;
  return SUCCESS;
}

int nvmlDeviceGetComputeRunningProcesses_v3(uintptr_t device, uint32_t *count, nvmlProcessInfo_t *processes) {
  char rest[512];
  uint32_t there = 0, capacity = *count;
  if (find((Question){"lost", device}, 0, rest)) return GPU_IS_LOST;
  if (find((Question){"unlisted", device}, 0, rest)) return NOT_SUPPORTED;
  while (find((Question){"process", device}, (int)there, rest)) {
    unsigned pid;
    unsigned long long used = ~0ull;
    sscanf(rest, "%u %llu", &pid, &used);
    if (there < capacity) processes[there] = (nvmlProcessInfo_t){pid, used, 0xffffffff, 0xffffffff};
    there++;
  }
  *count = there;
  return there > capacity ? INSUFFICIENT_SIZE : SUCCESS;
}

int nvmlDeviceGetUtilizationRates(uintptr_t device, nvmlUtilization_t *rates) {
  return number32(device, "utilization", &rates->gpu);
}

int nvmlDeviceGetTemperature(uintptr_t device, int sensor, uint32_t *celsius) {
  return sensor == 0 ? number32(device, "temperature", celsius) : INVALID_ARGUMENT;
}

int nvmlDeviceGetTemperatureThreshold(uintptr_t device, int threshold, uint32_t *celsius) {
  return threshold == 1 ? number32(device, "slowdown", celsius) : INVALID_ARGUMENT;
}

int nvmlDeviceGetPowerUsage(uintptr_t device, uint32_t *milliwatts) {
  return number32(device, "power", milliwatts);
}

// The newer name, nvmlDeviceGetCurrentClocksEventReasons, is left out, as drivers before 535 leave it out.
int nvmlDeviceGetCurrentClocksThrottleReasons(uintptr_t device, uint64_t *reasons) {
  unsigned long long value;
  int code = number(device, "reasons", &value);
  if (code == SUCCESS) *reasons = value;
  return code;
}

int nvmlDeviceGetMigMode(uintptr_t device, uint32_t *current, uint32_t *pending) {
  char rest[512];
  *current = *pending = (uint32_t)find((Question){"mig", device}, 0, rest);
  return SUCCESS;
}

int nvmlDeviceGetMaxMigDeviceCount(uintptr_t device, uint32_t *count) {
  (void)device;
  *count = 7;
  return SUCCESS;
}

int nvmlDeviceGetMigDeviceHandleByIndex(uintptr_t device, uint32_t index, uintptr_t *instance) {
  char rest[512];
  if (!find((Question){"mig", device}, (int)index, rest)) return NOT_FOUND;
  *instance = device + 100 * (index + 1);
  return SUCCESS;
}

int nvmlDeviceGetP2PStatus(uintptr_t one, uintptr_t other, int index, uint32_t *status) {
  unsigned long long peer;
  if (index != 2) return INVALID_ARGUMENT;
  *status = number(one, "nvlink", &peer) == SUCCESS && peer == other ? 0 : 5;
  return SUCCESS;
}

int nvmlDeviceGetTopologyCommonAncestor(uintptr_t one, uintptr_t other, uint32_t *level) {
  unsigned long long peer;
  *level = number(one, "switch", &peer) == SUCCESS && peer == other ? 20 : 40;
  return SUCCESS;
}

int nvmlEventSetCreate(uintptr_t *set) {
  *set = 4711;
  return SUCCESS;
}

static uint64_t registered[16];

int nvmlDeviceRegisterEvents(uintptr_t device, uint64_t types, uintptr_t set) {
  if (set != 4711 || device >= 16) return INVALID_ARGUMENT;
  registered[device] = types;
  return SUCCESS;
}

// Each line `xid` of a card is told once, and never one of a card or a kind that nobody asked for.
int nvmlEventSetWait_v2(uintptr_t set, nvmlEventData_t *data, uint32_t timeout) {
  static int told[16];
  char rest[512];
  if (set != 4711) return INVALID_ARGUMENT;
  for (uintptr_t device = 1; device < 16; device++) {
    unsigned long long xid;
    if (!(registered[device] & 8) || !find((Question){"xid", device}, told[device], rest)) continue;
    told[device]++;
    sscanf(rest, "%llu", &xid);
    *data = (nvmlEventData_t){device, 8, xid, 0xffffffff, 0xffffffff};
    return SUCCESS;
  }
  usleep(timeout * 1000);
  return TIMEOUT;
}
