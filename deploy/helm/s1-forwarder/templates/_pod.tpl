{{/* What the pods of workers, Jobs and tests have in common. */}}

{{/* Sources of pipeline files, as arguments of --pipelines. */}}
{{- define "s1-forwarder.pipelines" -}}
{{- $pipelines := include "s1-forwarder.pipelinesDirectory" . -}}
{{- range .Values.pipelines.configMaps }}
- {{ $pipelines }}/configmap-{{ . }}
{{- end }}
{{- range .Values.pipelines.secrets }}
- {{ $pipelines }}/secret-{{ . }}
{{- end }}
{{- if .Values.pipelines.inline }}
- {{ $pipelines }}/inline
{{- end }}
{{- range .Values.pipelines.resources.namespaces }}
- {{ printf "kubernetes-resources:%s" . | quote }}
{{- end }}
{{- end -}}

{{/*
Settings that every command needs, so that one in a worker's pod finds the same objects as the worker, and settings of
`run`.
*/}}
{{- define "s1-forwarder.env" -}}
{{- $secret := .Values.worker.existingSecret -}}
- name: S1_FORWARDER_STATE
  {{- if $secret.stateKey }}
  valueFrom: { secretKeyRef: { name: {{ $secret.name }}, key: {{ $secret.stateKey }} } }
  {{- else }}
  value: {{ .Values.worker.state | quote }}
  {{- end }}
- name: S1_FORWARDER_INSTANCE
  value: {{ .Values.worker.instance | default (include "s1-forwarder.fullname" .) }}
{{- if $secret.deadLettersKey }}
- name: S1_FORWARDER_DEAD_LETTERS
  valueFrom: { secretKeyRef: { name: {{ $secret.name }}, key: {{ $secret.deadLettersKey }} } }
{{- else if .Values.worker.deadLetters }}
- name: S1_FORWARDER_DEAD_LETTERS
  value: {{ .Values.worker.deadLetters | quote }}
{{- end }}
{{- if .Values.pipelines.defaults }}
- name: S1_FORWARDER_DEFAULTS
  value: /etc/s1-forwarder/defaults/defaults.yaml
{{- end }}
{{- with .Values.pipelines.tenants }}
{{- if .files }}
- name: S1_FORWARDER_TENANT_FILES
  value: "true"
{{- if .secretsDir }}
- name: S1_FORWARDER_SECRETS_DIR
  value: {{ .secretsDir | quote }}
{{- end }}
{{- if .envAllow }}
- name: S1_FORWARDER_ENV_ALLOW
  value: {{ join "," .envAllow | quote }}
{{- end }}
{{- end }}
{{- if or .files $.Values.pipelines.resources.namespaces }}
{{- if .filesDir }}
- name: S1_FORWARDER_FILES_DIR
  value: {{ .filesDir | quote }}
{{- end }}
{{- with .allowPrivateDestinations }}
- name: S1_FORWARDER_ALLOW_PRIVATE_DESTINATIONS
  value: {{ join "," . | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- if .Values.web.existingSecret }}
- name: S1_FORWARDER_WEB_CONFIG
  value: /etc/s1-forwarder/web/web.yaml
{{- end }}
# Other workers ask this one for its lanes there.
- name: POD_IP
  valueFrom: { fieldRef: { fieldPath: status.podIP } }
- name: TOKIO_WORKER_THREADS
  value: {{ .Values.worker.threads | quote }}
{{- with .Values.worker.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{/* The container, without its arguments. */}}
{{- define "s1-forwarder.container" -}}
image: {{ include "s1-forwarder.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
env:
  {{- include "s1-forwarder.env" . | nindent 2 }}
{{- with .Values.worker.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
{{- with include "s1-forwarder.volumeMounts" . | trim }}
volumeMounts:
  {{- . | nindent 2 }}
{{- end }}
{{- end -}}

{{/* The pod, without its containers. */}}
{{- define "s1-forwarder.pod" -}}
serviceAccountName: {{ include "s1-forwarder.serviceAccount" . }}
automountServiceAccountToken: true
enableServiceLinks: false
{{- with .Values.runtimeClassName }}
runtimeClassName: {{ . }}
{{- end }}
securityContext:
  {{- toYaml .Values.podSecurityContext | nindent 2 }}
{{- with .Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.hostAliases }}
hostAliases:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.dnsPolicy }}
dnsPolicy: {{ . }}
{{- end }}
{{- with .Values.dnsConfig }}
dnsConfig:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.initContainers }}
initContainers:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with include "s1-forwarder.volumes" . | trim }}
volumes:
  {{- . | nindent 2 }}
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.affinity }}
affinity:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
